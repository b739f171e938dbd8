"""An account without a home gets one, and only one that nobody else can use."""

import os
import stat
import tempfile
from pathlib import Path

import pytest

from fedtap.data.encode import default_folder
from fedtap.runtime.errors import UserError
from fedtap.runtime.home import expanded, give_home


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the folder for temporary files of an account without HOME and without an entry in the table of accounts."""

    def nowhere(path: str) -> str:
        return os.environ.get("HOME", path) if path == "~" else path

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("FEDTAP_CACHE", raising=False)
    monkeypatch.setattr("os.path.expanduser", nowhere)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_who_has_a_home_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert give_home() == tmp_path
    assert expanded("~/data") == tmp_path / "data"


def test_who_has_none_gets_a_private_one_and_the_same_again(homeless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = give_home()
    assert home.parent == homeless
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert Path(os.environ["HOME"]) == home
    monkeypatch.delenv("HOME")
    assert give_home() == home
    assert default_folder() == home / ".cache" / "fedtap" / "features"


@pytest.mark.parametrize("trap", ["a link", "open to all", "a file"])
def test_a_folder_that_others_can_use_is_left_alone(homeless: Path, trap: str) -> None:
    taken = homeless / f"fedtap-home-{os.getuid()}"
    if trap == "a link":
        (homeless / "theirs").mkdir()
        taken.symlink_to(homeless / "theirs")
    elif trap == "open to all":
        taken.mkdir()
        taken.chmod(0o777)
    else:
        taken.touch()
    home = give_home()
    assert home != taken
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_a_home_that_is_not_there_is_one_line(homeless: Path) -> None:
    with pytest.raises(UserError, match="~/data: there is no such home folder; write"):
        expanded("~/data")
