"""Scenarios by name: what the current folder holds goes before what comes with fedtap, and a path is never taken for a name."""

from pathlib import Path

import pytest

from fedtap.runtime.errors import UserError
from fedtap.scenario import shipped as module
from fedtap.scenario.scenario import load_scenario
from fedtap.scenario.shipped import in_the_way, scenario_file, shipped

ROOT = Path(__file__).parents[2]
OWN = (
    "clients:\n  - {id: a, tasks: [{name: digits, type: classification, modality: image, domain: d, source: digits}]}\n"
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_file_of_the_folder_has_its_name() -> None:
    assert {path.stem for path in (ROOT / "scenarios").iterdir()} == shipped().keys()
    assert len(shipped()) == 11


def test_a_name_is_known_anywhere() -> None:
    assert load_scenario("quickstart") == load_scenario(ROOT / "scenarios" / "quickstart.yaml")
    assert in_the_way("quickstart") is None


@pytest.mark.parametrize("file", ["quickstart", "quickstart.yaml", "quickstart.yml"])
def test_a_file_of_the_folder_goes_first(file: str) -> None:
    Path(file).write_text(OWN, encoding="utf-8")
    assert [client.id for client in load_scenario("quickstart").clients] == ["a"]
    assert in_the_way("quickstart") == Path(file)


def test_a_folder_of_that_name_is_no_file() -> None:
    Path("quickstart").mkdir()
    assert scenario_file("quickstart") == shipped()["quickstart"]
    assert in_the_way("quickstart") is None


def test_a_file_of_another_name_is_in_nobodys_way() -> None:
    Path("mine.yaml").write_text(OWN, encoding="utf-8")
    assert scenario_file("mine") == Path("mine.yaml")
    assert in_the_way("mine") is None


@pytest.mark.parametrize("path", ["./quickstart", "scenarios/quickstart.yaml", "quickstart.yaml"])
def test_a_path_is_no_name_but_its_fault_says_so(path: str) -> None:
    with pytest.raises(UserError, match="no such scenario; 'quickstart' alone means the one that comes with fedtap"):
        load_scenario(path)


def test_a_name_that_is_nearly_one_of_them_is_taken_for_a_slip() -> None:
    with pytest.raises(
        UserError, match="quikstart: no such scenario; did you mean 'quickstart'\\? `fedtap scenario list`"
    ):
        load_scenario("quikstart")


@pytest.mark.parametrize("path", ["studdy/quikstart", "quikstart.yaml"])
def test_a_path_is_mended_as_a_path(path: str) -> None:
    with pytest.raises(UserError, match="no such scenario; mend the path; `fedtap scenario list`"):
        load_scenario(path)


@pytest.mark.parametrize("name", ["nowhere", "../quickstart/..", "x" * 300])
def test_what_is_no_scenario_is_told(name: str) -> None:
    with pytest.raises(UserError):
        load_scenario(name)


def test_an_installed_package_has_them_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "fedtap"
    (package / "scenarios").mkdir(parents=True)
    (package / "scenarios" / "one.yaml").write_text(OWN, encoding="utf-8")
    monkeypatch.setattr(module, "_PACKAGE", package)
    module.shipped_folder.cache_clear()
    try:
        assert shipped() == {"one": package / "scenarios" / "one.yaml"}
        (package / "scenarios" / "one.yaml").unlink()
        (package / "scenarios").rmdir()
        module.shipped_folder.cache_clear()
        assert shipped() == {}
    finally:
        module.shipped_folder.cache_clear()
