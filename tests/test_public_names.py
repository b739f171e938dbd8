"""What an interpreter offers of the package."""

from importlib import import_module

import fedtap


def test_dir_names_all_that_there_is_and_nothing_else() -> None:
    assert {name for name in dir(fedtap) if not name.startswith("__")} == set(fedtap.__all__) - {"__version__"}
    for name in fedtap.__all__:
        assert getattr(fedtap, name) is not None
    assert issubclass(fedtap.UserError, Exception)


def test_a_public_name_is_what_it_is_where_it_lives() -> None:
    assert set(fedtap._HOMES) == set(fedtap.__all__) - {"__version__"}
    for name, home in fedtap._HOMES.items():
        assert getattr(fedtap, name) is getattr(import_module(home), name)
        assert getattr(fedtap, name).__module__ == home
