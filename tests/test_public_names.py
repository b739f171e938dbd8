"""What an interpreter offers of the package."""

import fedtap


def test_dir_names_all_that_there_is() -> None:
    assert set(fedtap.__all__) <= set(dir(fedtap))
    for name in fedtap.__all__:
        assert getattr(fedtap, name) is not None
    assert issubclass(fedtap.UserError, Exception)
