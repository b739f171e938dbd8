"""A YAML text that is too long is refused before it is read."""

import pytest

from fedtap.scenario.plain_yaml import MAX_TEXT, NotYamlError, parse


def test_a_text_of_megabytes_is_refused_unread() -> None:
    assert parse("a: 1".ljust(MAX_TEXT)) == {"a": 1}
    with pytest.raises(NotYamlError, match="characters; 1000000 at the most"):
        parse("a: 1".ljust(MAX_TEXT + 1))
