"""A user's file under ``mypy --strict``, and what an interpreter offers of the package."""

import subprocess
import sys
from pathlib import Path

import pytest

import fedtap

SRC = Path(fedtap.__file__).parents[1]
RIGHT = """
import fedtap

results: dict[str, object] = fedtap.run("mine.yaml", method="tap", seed=0, out="runs/first")
model: fedtap.PersonalModel = fedtap.PersonalModel.from_pretrained("models/clinic", backbone={"vision": "vit"})
label: str = model.predict(text="fever")["label"]
for example, output in model.predict_many(["fever since Monday"], batch_size=8):
    print(example.text, output["label"], model.tasks["triage"].classes)
try:
    answer: dict[str, object] = fedtap.predict("runs/first", client="clinic", task="triage", text="fever")
except fedtap.UserError as error:
    print(error)
"""
WRONG = """
import fedtap

fedtap.run("mine.yaml", sed=0)
fedtap.PersonalModel.from_pretrained("models/clinic").predict(txt="fever")
fedtap.PersonalModel.from_pretrained("models/clinic", backbone={"eyes": "vit"})
"""


def test_dir_names_all_that_there_is() -> None:
    assert set(fedtap.__all__) <= set(dir(fedtap))
    for name in fedtap.__all__:
        assert getattr(fedtap, name) is not None
    assert issubclass(fedtap.UserError, Exception)


@pytest.mark.slow
def test_a_users_file_type_checks_and_its_mistakes_are_found(tmp_path: Path) -> None:
    (tmp_path / "right.py").write_text(RIGHT)
    (tmp_path / "wrong.py").write_text(WRONG)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--cache-dir", tmp_path / "cache",
         "right.py", "wrong.py"],
        cwd=tmp_path, env={"MYPYPATH": str(SRC), "PATH": ""}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert [line for line in lines if line.startswith("right.py")] == []
    assert [line.split(":")[1] for line in lines if line.startswith("wrong.py")] == ["4", "5", "6"], done.stdout
