"""What a stranger meets first: the README's examples, the make targets, the pins."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fedtap.experiment.planning import check, plan_report
from fedtap.scenario.scenario import build_scenario

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def test_the_example_of_own_data_is_a_valid_scenario() -> None:
    (text,) = blocks("yaml")
    scenario = build_scenario({"name": "mine", **yaml.safe_load(text)}, place="README.md", folder=ROOT)
    check(scenario)
    assert [client["client"] for client in plan_report(scenario)["clients"]] == ["clinic", "hospital", "laboratory"]


def test_the_python_examples_are_python() -> None:
    assert blocks("python")
    for text in blocks("python"):
        compile(text, "README.md", "exec")


def test_make_has_every_target_that_the_readme_names() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    named = {name for text in blocks("console") for name in re.findall(r"^make ([\w-]+)$", text, flags=re.MULTILINE)}
    assert named == {"demo", "test"}
    assert named <= targets


def test_every_dependency_is_pinned() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    wanted = re.findall(r'^    "([A-Za-z0-9_-]+)[=><~]', project, flags=re.MULTILINE)
    pinned = [
        line.partition("==")[0]
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if not line.startswith("#")
    ]
    assert len(wanted) > 20
    assert {_plain(name) for name in wanted} <= {_plain(name) for name in pinned}


@pytest.mark.parametrize("line", (ROOT / "constraints.txt").read_text().splitlines()[1:])
def test_a_pin_is_exact_and_comes_from_the_registry(line: str) -> None:
    assert re.fullmatch(r'[A-Za-z0-9_.-]+==[0-9][0-9a-z.]*(; python_version (<|>=) "3\.11")?', line)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_bill_of_materials_names_everything_that_is_needed_and_is_the_same_twice() -> None:
    command = [sys.executable, str(ROOT / "tools" / "sbom.py")]
    texts = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert texts[0] == texts[1]
    bill = json.loads(texts[0])
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.5")
    assert bill["metadata"]["component"]["name"] == "fedtap"
    parts = {part["name"]: part for part in bill["components"]}
    project = (ROOT / "pyproject.toml").read_text()
    wanted = re.search(r"^dependencies = \[(.*?)^\]", project, flags=re.MULTILINE | re.DOTALL)
    assert wanted is not None
    names = {_plain(name) for name in re.findall(r'"([A-Za-z0-9_-]+)[=><~]', wanted[1])}
    assert len(names) > 10
    assert names <= parts.keys()
    assert parts["pydantic"]["purl"] == f"pkg:pypi/pydantic@{parts['pydantic']['version']}"
    on = {each["ref"]: each["dependsOn"] for each in bill["dependencies"]}
    assert parts["pydantic-core"]["purl"] in on[parts["pydantic"]["purl"]]
    assert len(on) == len(parts) + 1


def test_what_to_do_about_a_fault_of_security_is_said_and_its_links_lead_somewhere() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (ROOT / link).is_file(), link
    for part in ("Versions", "To report a fault", "What is never done", "What you install"):
        assert f"## {part}" in text
