"""What a stranger meets first: the README's examples, the make targets, the pins."""

import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fedtap.experiment.planning import check, plan_report
from fedtap.scenario.scenario import build_scenario

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


OWN_DATA = (ROOT / "docs" / "own-data.md").read_text(encoding="utf-8")


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    ("page", "clients"), [(README, ["clinic", "laboratory"]), (OWN_DATA, ["clinic", "hospital", "laboratory"])]
)
def test_the_example_of_own_data_is_a_valid_scenario(page: str, clients: list[str]) -> None:
    text = next(block for block in blocks("yaml", page) if "clients:" in block)
    scenario = build_scenario({"name": "mine", **yaml.safe_load(text)}, place="page", folder=ROOT)
    check(scenario)
    assert [client["client"] for client in plan_report(scenario)["clients"]] == clients


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


def locked(name: str) -> dict[str, dict[str, int]]:
    """Return package -> version -> how many hashes, of one lock without those that it builds upon."""
    found: dict[str, dict[str, int]] = {}
    lines = (ROOT / "locks" / f"{name}.txt").read_text().splitlines()
    assert re.fullmatch(r"# Written by `python tools/lock.py write`: .*", lines[0])
    package = version = ""
    for line in lines[1:]:
        if line.startswith("    "):
            assert re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line), line
            found[package][version] += 1
        elif not line.startswith("-r "):
            match = re.fullmatch(r"([a-z0-9-]+)==([0-9][0-9a-z.]*)( ; [^\\@:]+)? \\", line)
            assert match is not None, line  # no address, no path
            package, version = match[1], match[2]
            found.setdefault(package, {})[version] = 0
    return found


def lock_of(*names: str) -> dict[str, dict[str, int]]:
    return {package: versions for name in names for package, versions in locked(name).items()}


def test_every_locked_file_has_a_hash_and_the_version_of_the_constraints() -> None:
    pins: dict[str, set[str]] = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines()[1:]:
        name, _, version = line.partition("; ")[0].partition("==")
        pins.setdefault(_plain(name), set()).add(version)
    found = lock_of("build", "quickstart", "dev")
    assert len(found) > 100
    for package, versions in found.items():
        assert min(versions.values()) >= 1, package
        assert package not in pins or versions.keys() & pins[package], package
        assert package not in pins or len(versions) <= 2, package


@pytest.mark.parametrize("locks", [("quickstart",), ("quickstart", "dev")])
def test_a_lock_holds_all_that_is_asked_for_but_torch(locks: tuple[str, ...]) -> None:
    project = (ROOT / "pyproject.toml").read_text()
    wanted = set()
    for key in ("dependencies", *locks):
        section = re.search(rf"^{key} = \[(.*?)^\]", project, flags=re.MULTILINE | re.DOTALL)
        assert section is not None
        wanted |= {_plain(name) for name in re.findall(r'^    "([A-Za-z0-9_-]+)[=><~]', section[1], flags=re.MULTILINE)}
    found = lock_of("build", *locks)
    assert wanted - found.keys() == {"torch"}
    assert {"hatchling", "editables", "setuptools"} <= locked("build").keys()
    assert ("pytest" in found) == ("dev" in locks)
    assert not [name for name in found if name.startswith(("nvidia", "cuda", "triton"))]
    for name, below in (("quickstart", "build"), ("dev", "quickstart")):  # so that one file is the whole of a set
        assert (ROOT / "locks" / f"{name}.txt").read_text().splitlines()[1] == f"-r {below}.txt"


@pytest.mark.parametrize(
    ("here", "fitting"),
    [
        (("CPython", (3, 11), "Linux", "x86_64"), True),
        (("CPython", (3, 10), "Linux", "x86_64"), True),
        (("CPython", (3, 9), "Linux", "x86_64"), False),
        (("CPython", (3, 15), "Linux", "x86_64"), False),
        (("PyPy", (3, 11), "Linux", "x86_64"), False),
        (("CPython", (3, 11), "Linux", "aarch64"), False),
        (("CPython", (3, 11), "Darwin", "x86_64"), False),
    ],
)
def test_the_locks_say_whom_they_fit(here: tuple[str, tuple[int, int], str, str], fitting: bool) -> None:
    tool = runpy.run_path(str(ROOT / "tools" / "lock.py"))
    assert tool["fits"](*here) is fitting


def installing(python: Path) -> str:
    """Return what `make` does to install, with a Python that only writes down how it is called."""
    folder = python.parent.parent
    command = ["make", str(folder / ".installed-dev"), f"VENV={folder}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout + (folder / "calls").read_text()


@pytest.mark.parametrize("fits", [True, False])
def test_make_installs_from_the_locks_or_says_in_one_line_that_there_is_none(fits: bool, tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n[ "$2" != fits ] || exit {int(not fits)}\n')
    python.chmod(0o755)
    text = installing(python)
    calls = [line for line in text.splitlines() if line.startswith("-m pip install")]
    told = [line for line in text.splitlines() if line.startswith("No lock for this Python and platform")]
    if fits:
        first, second, third, last = calls
        assert "--require-hashes --no-deps -r locks/build.txt" in first
        assert "--require-hashes --no-deps --no-build-isolation -r locks/dev.txt" in second
        assert third.endswith("-c constraints.txt torch")
        assert last.endswith("--no-deps --no-build-isolation -e .")
        assert told == []
    else:
        assert calls[0].endswith("-c constraints.txt -e .[quickstart,dev]")
        assert len(calls) == len(told) == 1
        assert "without checking hashes" in told[0]


def test_what_to_do_about_a_fault_of_security_is_said_and_its_links_lead_somewhere() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (ROOT / link).is_file(), link
    for part in ("Versions", "To report a fault", "What is never done", "What you install"):
        assert f"## {part}" in text


def test_the_wheel_brings_the_federations_along_and_the_sources_all_that_their_pages_name() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    assert '"scenarios" = "fedtap/scenarios"' in project
    section = re.search(r"^include = \[(.*?)^\]", project, flags=re.MULTILINE | re.DOTALL)
    assert section is not None
    for name in re.findall(r'"([^"]+)"', section[1]):
        assert (ROOT / name).exists(), name
    for name in ("examples", "benchmarks", "scenarios", "docs"):
        assert f'"{name}"' in section[1]


def test_what_runs_elsewhere_calls_what_is_there() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    jobs: dict[str, str] = {}
    for path in sorted((ROOT / ".github" / "workflows").iterdir()):
        for name, job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].items():
            jobs[name] = "\n".join(step.get("run", "") for step in job["steps"])
            assert set(re.findall(r"make ([\w-]+)", jobs[name])) <= targets
    assert jobs.keys() == {"check", "tests", "lowest", "newest", "package", "docs"}
    assert "--resolution lowest-direct" in jobs["lowest"]
    assert "constraints.txt" not in jobs["newest"]
    pythons = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())["jobs"]["tests"]["strategy"]["matrix"]
    assert pythons["python"] == ["3.10", "3.11", "3.12", "3.13"]


def test_the_containers_run_parts_that_the_script_has_with_scenarios_that_are_there() -> None:
    script = (ROOT / "deploy" / "federation.sh").read_text(encoding="utf-8")
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
    scenario = yaml.safe_load((ROOT / "examples" / "three-hospitals" / "scenario.yaml").read_text(encoding="utf-8"))
    sites = [client["id"] for client in scenario["clients"]]
    assert f"SITES=({' '.join(sites)})" in script
    assert compose["services"].keys() == {"setup", "server", "start", *sites}
    for name, service in compose["services"].items():
        assert service["command"] == (["node", name] if name in sites else [name])
    for client in scenario["clients"]:
        for task in client["tasks"]:
            assert f"{task['name']}={Path(task['path']).name}" in script
    for line in (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8").splitlines():
        if line.startswith("COPY "):
            for name in line.split()[1:-1]:
                assert (ROOT / name).exists(), name
