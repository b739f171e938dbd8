"""`fedtap theory`: a plan that needs neither data nor weights, and a run beside it; and what `theory: on` writes down."""

import json
from pathlib import Path

import pytest

from e2e.conftest import Command, cache, events, fedtap, no_report, scenario
from fedtap.reporting.run.record import read_run
from fedtap.reporting.run.report import render

__all__ = ["cache", "fedtap", "no_report", "scenario"]

SCENARIOS = Path(__file__).parents[2] / "scenarios"


@pytest.fixture(scope="module")
def measured(scenario: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the folders of a run with the theory's looks and of one without, of plain SGD."""
    from fedtap import run

    out = tmp_path_factory.mktemp("theory")
    given = ["training.optimizer=sgd", "training.lr=1e-5", "training.warmup_rounds=0"]
    for name, more in (("on", ["theory={looks: 2, examples: 8}"]), ("off", [])):
        run(scenario, method="fedavg", out=out / name, overrides=[*given, *more])
    return {"on": out / "on", "off": out / "off"}


def test_a_plan_names_what_starves(fedtap: Command) -> None:
    done = fedtap("theory", "plan", SCENARIOS / "paper-flava.yaml")
    assert done.code == 0, done.err
    rows = [line for line in done.out.splitlines() if line.strip().endswith("starves")]
    assert len(rows) == 8  # sets of holders; the components of each are named together
    assert any("head/tiny_imagenet" in row and "0.19" in row for row in rows)
    assert "20 of 51 components starve" in done.out
    assert "clients_per_round=6 trains it in 50% of rounds" in done.out


def test_a_plan_follows_settings_and_method(fedtap: Command) -> None:
    told = json.loads(
        fedtap("theory", "plan", SCENARIOS / "paper-flava.yaml", "--json", "--set", "clients_per_round=6").out
    )
    assert told["clients_per_round"] == 6
    assert not any(part["starves"] for part in told["components"])
    kept = json.loads(fedtap("theory", "plan", SCENARIOS / "quickstart.yaml", "--json", "-m", "fedper").out)
    assert not any(part["component"].startswith("head/") for part in kept["components"])
    every = fedtap("theory", "plan", SCENARIOS / "quickstart.yaml", "--all").out
    assert "expert/mome/shared/text" in every


def test_a_plan_says_what_sampling_by_coverage_gives(fedtap: Command) -> None:
    """The heads of three clients: trained in 19 % of rounds if dealt, in 29 % by coverage, what it costs 28 % for others."""
    dealt = fedtap("theory", "plan", SCENARIOS / "paper-flava.yaml")
    assert "sampling=coverage trains every component in at least 28% of them" in " ".join(dealt.out.split())
    told = json.loads(
        fedtap("theory", "plan", SCENARIOS / "paper-flava.yaml", "--json", "--set", "sampling=coverage").out
    )
    pi = {part["component"]: part["pi"] for part in told["components"]}
    assert pi["head/tiny_imagenet"] > 0.28
    assert min(pi.values()) > 0.275
    assert sum(told["chances"].values()) == pytest.approx(2)


def test_a_run_draws_as_it_says(scenario: Path, tmp_path: Path) -> None:
    """By coverage, the clients of a run are those of the schedule by its plan's chances, and it may be looked at."""
    from fedtap import run
    from fedtap.federation.sampling import schedule

    out = tmp_path / "covered"
    given = ["sampling=coverage", "clients_per_round=2", "rounds=3", "theory={looks: 2, examples: 8}"]
    run(scenario, method="fedavg", out=out, overrides=[*given, "training.optimizer=sgd"])
    told = events(out)
    plan = next(event for event in told if event["event"] == "theory_plan")
    rounds = [event["clients"] for event in told if event["event"] == "round_started"]
    chances = plan["chances"]
    assert len(set(chances.values())) > 1
    assert rounds == schedule(list(chances), per_round=2, rounds=3, seed=0, sampling="coverage", chances=chances)
    assert "it is Theorem 2" in " ".join(render(read_run(out)).split())


def test_a_method_that_averages_nothing_has_no_plan(fedtap: Command) -> None:
    done = fedtap("theory", "plan", SCENARIOS / "quickstart.yaml", "-m", "local")
    assert done.code == 2
    assert done.err.count("\n") == 1
    assert "method 'local' averages no component" in done.err


def test_looking_changes_no_result(measured: dict[str, Path]) -> None:
    on, off = ((measured[name] / "results.json").read_bytes() for name in ("on", "off"))
    assert on == off
    assert not [event for event in events(measured["off"]) if event["event"].startswith("theory")]
    looks = events(measured["on"], "theory")
    assert [look["round"] for look in looks] == [0, 3]
    assert all(look["gradients"] > 0 and look["smoothness"] > 0 and look["clients"] == 4 for look in looks)
    told = {event["component"]: event for event in events(measured["on"], "theory_component") if event["round"] == 3}
    shared = told["attention/mote/shared"]
    assert shared["holders"] == 4
    assert shared["zeta2"] == pytest.approx(shared["zeta2_pairs"] + shared["zeta2_within"])
    assert len(shared["apart"]) == 3
    assert told["head/mood"]["alignment"] is None
    (plan,) = events(measured["on"], "theory_plan")
    assert {part["component"] for part in plan["components"]} == told.keys()


def test_a_run_stands_beside_its_plan(measured: dict[str, Path], fedtap: Command) -> None:
    for words in (["theory"], ["theory", "report"]):
        done = fedtap(*words, measured["on"])
        assert done.code == 0, done.err
        assert "Measuring took" in done.out
        assert "Theorem 1: the mean weighted squared gradient is" in done.out
        shown = " ".join(done.out.split())
        assert "does not cover batches drawn without replacement, clipped gradients (at 1), sampling=dealt" in shown
        assert "weights=component and a rate that changes" in shown or "a rate that changes and weight decay" in shown
    told = json.loads(fedtap("theory", measured["on"], "--json").out)
    finished = events(measured["on"], "round_finished")
    holders = {"reader", "both"}
    expected = sum(bool(holders & set(event["clients"])) for event in finished)
    (mood,) = (part for part in told["components"] if part["component"] == "head/mood")
    assert mood["updates"] == expected
    assert mood["expected_updates"] == pytest.approx(3 * (1 - 1 / 6))
    assert len(mood["looks"]) == 2


def test_a_run_without_looks_says_how_to_have_them(measured: dict[str, Path], fedtap: Command) -> None:
    done = fedtap("theory", measured["off"])
    assert done.code == 0, done.err
    assert "head/mood" in done.out
    assert "run with `--set theory=on`" in done.out


def test_the_report_has_the_section(measured: dict[str, Path]) -> None:
    assert "What pairs cost" in render(read_run(measured["on"]))
    assert "What pairs cost" not in render(read_run(measured["off"]))


def test_a_run_that_is_cut_off_looks_once(scenario: Path, tmp_path: Path, no_report: None) -> None:
    from fedtap import run

    class Cut(BaseException):
        """The process ends here."""

    answered = []

    def watch(event: dict[str, object]) -> None:
        if event["event"] == "personalised":  # after the last look, which the first answer has settled
            answered.append(event["client"])
            if len(answered) == 2:
                raise Cut

    given = ["theory={looks: 2, examples: 4, curvature: 0}", "rounds=2"]
    with pytest.raises(Cut):
        run(scenario, method="fedavg_ft", out=tmp_path / "run", overrides=given, observers=[watch])
    run(scenario, method="fedavg_ft", out=tmp_path / "run", overrides=given, resume=True)
    assert [event["round"] for event in events(tmp_path / "run", "theory")] == [0, 2]
    assert all(event["smoothness"] == 0 for event in events(tmp_path / "run", "theory"))
    seen = [(event["round"], event["component"]) for event in events(tmp_path / "run", "theory_component")]
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("theory={look: 3}", "unknown key 'theory.look'; did you mean 'looks'?"),
        ("theory={looks: 1}", "'theory.looks': Input should be greater than or equal to 2"),
        ("theory=much", "'theory'"),
    ],
)
def test_a_wrong_section_is_told(scenario: Path, fedtap: Command, setting: str, why: str) -> None:
    done = fedtap("scenario", "validate", scenario, "--set", setting)
    assert done.code == 2
    assert why in done.err


def test_what_privacy_keeps_is_not_measured(scenario: Path, fedtap: Command) -> None:
    for section in ("privacy.central={}", "privacy.local={}", "privacy.secure={}"):
        done = fedtap("scenario", "validate", scenario, "--set", "theory=on", "--set", section)
        assert done.code == 2
        assert "theory: on takes exact gradients of single clients" in done.err
    assert fedtap("scenario", "validate", scenario, "--set", "theory=off", "--set", "privacy.central={}").code == 0


def test_engines_of_many_processes_are_refused(scenario: Path, tmp_path: Path, fedtap: Command) -> None:
    pytest.importorskip("flwr")
    done = fedtap("run", scenario, "--engine", "flower", "--set", "theory=on", "--out", tmp_path / "run")
    assert done.code == 2
    assert "theory: gradients are compared in one process; use --engine inprocess" in done.err
    assert not (tmp_path / "run").exists()


def test_what_a_gate_can_promise(fedtap: Command) -> None:
    """Quickstart: 48 validation examples; 15 rounds of 4 of 10 clients are 6 turns, and 5 verdicts a task."""
    done = fedtap("theory", "gate", SCENARIOS / "quickstart.yaml", "--json", "--set", "gate=validation")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    first = told["splits"][0]
    assert (first["client"], first["examples"], first["verdicts"]) == ("c0", 48, 5)
    assert first["harm"] == pytest.approx(0.17 / 48**0.5, rel=1e-3)
    assert first["missed"] == pytest.approx(0.641 / 48**0.5, rel=1e-3)
    assert {s["verdicts"] for s in told["splits"] if s["client"] == "c6"} == {15}  # three tasks
    guarded = json.loads(
        fedtap("theory", "gate", SCENARIOS / "quickstart.yaml", "--json", "--set", "guard_adoption=on").out
    )
    assert guarded["splits"][0]["verdicts"] == 10
    shown = fedtap("theory", "gate", SCENARIOS / "quickstart.yaml", "--set", "gate=paired", "--set", "alpha=0.05")
    assert "alpha 0.05" in shown.out
    assert "compares training losses" not in shown.out
    assert "compares training losses" in fedtap("theory", "gate", SCENARIOS / "quickstart.yaml").out
    none = fedtap("theory", "gate", SCENARIOS / "quickstart.yaml", "-m", "fedavg")
    assert none.code == 2
    assert "has no gate" in none.err
