"""A YAML text that is too long is refused before it is read."""

import pytest

from fedtap.scenario.plain_yaml import MAX_TEXT, NotYamlError, parse


def test_a_text_of_megabytes_is_refused_unread() -> None:
    assert parse("a: 1".ljust(MAX_TEXT)) == {"a": 1}
    with pytest.raises(NotYamlError, match="characters; 1000000 at the most"):
        parse("a: 1".ljust(MAX_TEXT + 1))


def test_aliases_of_aliases_are_refused_before_they_are_written_out() -> None:
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
    )
    with pytest.raises(NotYamlError, match="stands for more than 1000000 values"):
        parse(laughs)


def test_a_value_within_itself_is_refused() -> None:
    with pytest.raises(NotYamlError, match="stands for more than"):
        parse("a: &a [1, *a]")


def test_an_alias_as_scenarios_use_it_is_read() -> None:
    assert parse("a: &a {x: 1}\nb: [*a, *a]") == {"a": {"x": 1}, "b": [{"x": 1}, {"x": 1}]}
    assert parse("") is None
