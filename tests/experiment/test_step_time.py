"""What a step takes: who is timed, what becomes of the seconds, and what is advised; the clock is the test's own."""

import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from e2e.conftest import Command, cache, fedtap, scenario
from fedtap.experiment import step_time
from fedtap.experiment.step_time import StepTime, StepTimes, time_steps
from fedtap.network.network import Network
from fedtap.scenario.scenario import load_scenario
from fedtap.training.client import LocalClient

__all__ = ["cache", "fedtap", "scenario"]


def clock(costs: Sequence[float]) -> Callable[[], float]:
    """Return a clock, read before and after each turn, on which the turns take these seconds."""
    ends = list(itertools.accumulate(costs))
    readings = iter([at for begin, end in zip([0.0, *ends], ends, strict=False) for at in (begin, end)])
    return lambda: next(readings)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, int]]:
    """Return a list that fills with (client, precision, steps) of all training."""
    calls: list[tuple[str, str, int]] = []
    real = LocalClient.train

    def train(self: LocalClient, state: Any, steps: int, purpose: Any, **options: Any) -> Any:
        calls.append((self.id, self.network.precision, steps))
        return real(self, state, steps, purpose, **options)

    monkeypatch.setattr(LocalClient, "train", train)
    return calls


def test_medians_by_precision_and_turns_that_alternate(
    scenario: Path, trained: list[tuple[str, str, int]], cache: Path
) -> None:
    only = load_scenario(scenario, [])
    only = only.model_copy(update={"clients": only.clients[:1]})
    seconds = [90.0, 90.0, 2.0, 8.0, 6.0, 4.0, 60.0, 2.0]
    found = time_steps(only, steps=2, turns=3, clock=clock(seconds))
    (kind,) = found.kinds
    assert [each[1] for each in trained] == ["bf16", "fp32", "fp32", "bf16", "bf16", "fp32", "fp32", "bf16"]
    assert kind.seconds == {"fp32": 2.0, "bf16": 3.0}  # of two steps 2, 4, 60 and 8, 6, 2; the first turns do not count
    assert {each[2] for each in trained} == {2}
    assert (kind.tasks, kind.clients) == (("mood",), 1)
    assert kind.steps == 3 * 2  # rounds and local steps: one client a round is all that there is
    assert found.training_seconds("bf16") == 18.0
    assert found.precision == "fp32"


def test_a_client_of_each_kind_is_timed_and_they_share_the_steps(
    scenario: Path, trained: list[tuple[str, str, int]], cache: Path
) -> None:
    ticks = itertools.count()
    told: list[dict[str, Any]] = []
    loaded = load_scenario(scenario, [])
    found = time_steps(loaded, steps=1, turns=1, tell=told.append, clock=lambda: float(next(ticks)))
    # the newcomer takes no part, so that reader stands for itself
    assert [kind.tasks for kind in found.kinds] == [("mood",), ("shade", "redraw"), ("ask",), ("mood", "shade")]
    assert list(dict.fromkeys(client for client, _, _ in trained)) == ["reader", "painter", "asker", "both"]
    assert [kind.steps for kind in found.kinds] == [3 * 2 * 2 / 4] * 4
    assert [event["done"] for event in told if event["event"] == "timing"] == [0, 1, 2, 3, 4]
    epochs = load_scenario(scenario, ["local_epochs=1"])
    paced = time_steps(epochs, steps=1, turns=1, clock=lambda: float(next(ticks)))
    assert [kind.steps for kind in paced.kinds] == [
        3 * 2 / 4 * steps for steps in (2, 4, 2, 4)
    ]  # of 12 or 24, 6 at once


def test_the_network_is_left_as_it_was(scenario: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    networks: list[Network] = []
    real = step_time._timed

    def remembered(network: Network, *rest: Any) -> Any:
        networks.append(network)
        return real(network, *rest)

    monkeypatch.setattr(step_time, "_timed", remembered)
    time_steps(load_scenario(scenario, ["training.precision=bf16"]), steps=1, turns=1)
    assert {network.precision for network in networks} == {"bf16"}


@pytest.mark.parametrize(("half", "advised"), [(0.89, "bf16"), (0.91, "fp32"), (2.0, "fp32")])
def test_bfloat16_is_advised_where_it_is_clearly_faster(half: float, advised: str) -> None:
    one = StepTime(("a",), 1, 10.0, {"fp32": 1.0, "bf16": half})
    assert StepTimes([one], "cpu", 1, "fp32").advised == advised


def test_what_counts_is_the_whole_run() -> None:
    """100 steps that gain a tenth of a second each against 10 that lose half a second: 100 s in fp32, 85 s in bf16."""
    much = StepTime(("a",), 1, 100.0, {"fp32": 0.9, "bf16": 0.7})
    little = StepTime(("b",), 1, 10.0, {"fp32": 1.0, "bf16": 1.5})
    found = StepTimes([much, little], "cpu", 1, "fp32")
    assert (found.training_seconds("fp32"), found.training_seconds("bf16")) == pytest.approx((100.0, 85.0))
    assert found.advised == "bf16"


def test_the_command_says_it_in_words_and_as_json(fedtap: Command, scenario: Path, cache: Path) -> None:
    done = fedtap("scenario", "time", scenario, "--steps", 1)
    assert done.code == 0, done.err
    assert "shade, redraw" in done.out
    assert "The steps of all 3 rounds, one client at a time: about " in done.out
    assert "Advice for this machine: training.precision=" in done.out
    told = json.loads(fedtap("scenario", "time", scenario, "--steps", 1, "--json").out)
    assert [kind["tasks"] for kind in told["kinds"]] == [["mood"], ["shade", "redraw"], ["ask"], ["mood", "shade"]]
    assert all(seconds > 0 for kind in told["kinds"] for seconds in kind["seconds"].values())
    assert told["advised"] in told["training_seconds"]
    refused = fedtap("scenario", "time", scenario, "--device", "abacus")
    assert refused.code == 2
    assert "--device abacus" in refused.err
