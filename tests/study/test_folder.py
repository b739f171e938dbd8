"""The folder of a comparison or a sweep: its runs are those that were done there, by the ids in their own files."""

import shutil
from pathlib import Path

import pytest

from fedtap.runtime.errors import UserError
from fedtap.runtime.sealed import read_sealed_json, write_sealed_json
from fedtap.study.batch import Job
from fedtap.study.folder import RUNS, check_runs, note_runs
from study.test_outcome import RECORD as RUN
from study.test_outcome import job, row

RECORD = "compare.json"


def study(folder: Path, name: str = "s") -> list[Job]:
    """Return the jobs of a study of two runs, both done, each with an id of its own."""
    folder.mkdir()
    write_sealed_json(folder / RECORD, {"study": name}, {"what": "compare"})
    made = [job(folder, "tap", seed, [row("a")]) for seed in (0, 1)]
    for number, each in enumerate(made):
        called(each, f"{name}-{number}")
    note_runs(folder, RECORD, made)
    return made


def called(done: Job, run: str) -> None:
    write_sealed_json(done.out / "run.json", {**RUN, "run": run}, {"what": "run", "run": run})


def noted(folder: Path, name: str = "s") -> dict[str, str]:
    return dict(read_sealed_json(folder / RUNS, {"what": "runs of a compare", "study": name})["runs"])


def test_runs_that_were_done_here_are_known_by_their_ids(tmp_path: Path) -> None:
    jobs = study(tmp_path / "a")
    assert noted(tmp_path / "a") == {"tap-seed0": "s-0", "tap-seed1": "s-1"}
    before = (tmp_path / "a" / RUNS).read_bytes()
    check_runs(tmp_path / "a", RECORD, jobs)
    note_runs(tmp_path / "a", RECORD, jobs[:1])
    assert (tmp_path / "a" / RUNS).read_bytes() == before


def test_another_run_in_the_place_of_one_is_refused(tmp_path: Path) -> None:
    jobs, others = study(tmp_path / "a"), study(tmp_path / "b", "other")
    shutil.rmtree(jobs[1].out)
    shutil.copytree(others[1].out, jobs[1].out)
    with pytest.raises(
        UserError, match=r"tap-seed1: holds the run other-1, and the one that was done here is s-1; put"
    ) as told:
        check_runs(tmp_path / "a", RECORD, jobs)
    assert len(str(told.value).splitlines()) == 1


def test_a_run_that_was_removed_is_done_again_and_its_new_id_is_noted(tmp_path: Path) -> None:
    jobs = study(tmp_path / "a")
    shutil.rmtree(jobs[1].out)
    check_runs(tmp_path / "a", RECORD, jobs)
    assert noted(tmp_path / "a") == {"tap-seed0": "s-0"}
    called(job(tmp_path / "a", "tap", 1, [row("a")]), "s-9")
    note_runs(tmp_path / "a", RECORD, jobs)
    check_runs(tmp_path / "a", RECORD, jobs)
    assert noted(tmp_path / "a") == {"tap-seed0": "s-0", "tap-seed1": "s-9"}


def test_runs_that_are_not_asked_for_now_stay_noted(tmp_path: Path) -> None:
    jobs = study(tmp_path / "a")
    check_runs(tmp_path / "a", RECORD, jobs[:1])
    assert noted(tmp_path / "a").keys() == {"tap-seed0", "tap-seed1"}


def test_the_list_of_another_study_or_a_changed_one_is_refused(tmp_path: Path) -> None:
    jobs = study(tmp_path / "a")
    study(tmp_path / "b", "other")
    path, mine = tmp_path / "a" / RUNS, (tmp_path / "a" / RUNS).read_bytes()
    path.write_bytes((tmp_path / "b" / RUNS).read_bytes())
    with pytest.raises(UserError, match="is of study 'other', not of study 's'"):
        check_runs(tmp_path / "a", RECORD, jobs)
    path.write_bytes(mine.replace(b"s-0", b"s-7"))
    with pytest.raises(UserError, match="does not match its digest"):
        check_runs(tmp_path / "a", RECORD, jobs)
    write_sealed_json(path, {"runs": {"tap-seed0": 3}}, {"what": "runs of a compare", "study": "s"})
    with pytest.raises(UserError, match="must be ids by name"):
        check_runs(tmp_path / "a", RECORD, jobs)
