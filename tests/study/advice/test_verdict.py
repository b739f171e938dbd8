"""What is made of a race: the advice, whom a method hurts, what asks least; on made-up outcomes, by hand."""

import json
from typing import Any

import pytest

from fedtap.reporting.advice.markdown import advice_markdown
from fedtap.reporting.advice.sentences import advice_sentence, advice_sentences
from fedtap.reporting.advice.tables import advice_grid
from fedtap.study.advice.halving import Rung, Terms, halve
from fedtap.study.advice.price import Price, cheapest_first
from fedtap.study.advice.verdict import hurt, verdict
from fedtap.study.statistics import Gain
from study.advice.made_up import Outcome, World, by_client, gains_of, noisy

PRICES = {
    "local": Price("local", 900, 0, 1),
    "fedavg": Price("fedavg", 600, 4e6, 1),
    "fedavg_ft": Price("fedavg_ft", 780, 4e6, 2),
    "tap": Price("tap", 781, 4.01e6, 3),
}


def told(
    outcomes: dict[str, Outcome], clients: int = 6, failing: tuple[str, ...] = (), **given: Any
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what advice.json and the rows of advice-costs.json would hold."""
    world = World(outcomes, clients, failing)
    last: dict[str, list[Gain]] = {}

    def play(rung: Rung) -> dict[str, list[Gain]]:
        found = world.play(rung)
        last.update(found)
        return found

    terms = Terms("local", tuple(given.pop("seeds", range(8))), **given)
    found = verdict(halve(list(world.outcomes), terms, play), last, PRICES, base="local", yardstick="fedavg")
    about = {
        "scenario": "clinics",
        "base": "local",
        "yardstick": "fedavg" if "fedavg" in last else None,
        "tolerance": terms.tolerance,
        "incomplete": [{"method": label, "why": "no space left"} for label in failing],
        "fedtap": "0.1.0",
        "torch": "2.13",
        "python": "3.11",
        "machine": "Linux",
    }
    costs = [{"method": row["method"], "seeds": row["seeds"], "seconds": 10.0} for row in found["rows"]]
    return json.loads(json.dumps({**about, **found})), costs


def test_one_that_is_ahead_is_advised_with_its_gain_and_the_nearest() -> None:
    result, costs = told({"fedavg": noisy(10, 0.1, 1), "fedavg_ft": noisy(30, 0.1, 2), "tap": noisy(20, 0.1, 3)})
    assert (result["use"], result["kept"], result["more"]) == ("fedavg_ft", ["fedavg_ft"], None)
    row = {row["method"]: row for row in result["rows"]}
    first, *others = advice_sentences(result, costs)
    assert first == advice_sentence(result)
    ends = " to ".join(f"{end:+.1f}" for end in row["fedavg_ft"]["ci95"])
    assert f"Use fedavg_ft: its mean gain over local is {row['fedavg_ft']['delta_percent']:+.1f} % ({ends})" in first
    assert "ahead of every other by more than noise after 3 seeds; the nearest, tap, is " in first
    assert "Out, being behind the first by more than noise: tap, fedavg and local after 3 seeds." in others
    # four methods, three seeds; 900 + 600 + 780 + 781 steps a seed, ten seconds a run
    assert (
        "To know this took 12 runs: 9,183 local steps, 36.0 MB that a federation would send, 2 min 0 s of one core."
        in (others)
    )


def test_where_all_are_behind_local_the_advice_is_to_stay_alone() -> None:
    result, _ = told({"fedavg": noisy(-20, 1, 1), "tap": noisy(-10, 1, 2)})
    assert advice_sentence(result).startswith(
        "Use local, each client alone: every other is behind it by more than noise after 3 seeds; the nearest, tap, is "
    )


def test_those_that_cannot_be_told_apart_are_named_and_what_asks_least_is_advised() -> None:
    result, costs = told({"fedavg_ft": noisy(40, 20, 1), "tap": noisy(41, 20, 5), "fedavg": noisy(40.5, 20, 3)})
    assert result["stop"] == "seeds"
    assert result["tied"] == result["kept"]
    kept, means = result["kept"], {row["method"]: row["delta_percent"] for row in result["rows"]}
    assert kept == sorted(kept, key=lambda label: -means[label])
    assert set(kept) == {"fedavg", "fedavg_ft", "tap"}
    first, *others = advice_sentences(result, costs)
    names = f"{kept[0]}, {kept[1]} and {kept[2]}"
    assert first == (
        f"These cannot be told apart after 8 seeds: {names}. Take the cheapest, fedavg, which asks for the fewest local steps."
    )
    assert any(line.startswith(f"{kept[0]} has the highest mean gain") for line in others) is (kept[0] != "fedavg")
    more = result["more"]
    assert more["methods"] == kept[:2]
    assert (more["seeds"] is None) == (more["why"] is not None)


def test_what_more_would_cost_is_that_of_two_methods_and_of_the_base(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedtap.study.advice.verdict.seeds_to_tell", lambda cells: 11)
    result, costs = told({"fedavg_ft": noisy(40, 20, 1), "tap": noisy(41, 20, 5)})
    assert result["more"] == {"methods": result["kept"], "seeds": 11, "runs": 3 * (11 - 8), "why": None}
    one, other = result["kept"]
    assert advice_sentences(result, costs)[-1] == (
        f"To tell {one} from {other} would take about 11 seeds in all, 9 runs more, about 1 min 30 s of one core: a rough guess, "
        "from how their difference varied over 8 seeds."
    )
    with_base, _ = told({"tap": noisy(1, 20, 5)})
    assert with_base["more"]["runs"] == 2 * (11 - 8)
    monkeypatch.setattr("fedtap.study.advice.verdict.seeds_to_tell", lambda cells: None)
    result, costs = told({"fedavg_ft": noisy(40, 20, 1), "tap": noisy(41, 20, 5)})
    assert (result["more"]["runs"], result["more"]["why"]) == (None, "clients")
    assert advice_sentences(result, costs)[-1].startswith(f"More seeds would hardly tell {one} from {other}: ")


def test_what_is_unlikely_is_not_advised_however_little_it_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ahead at every client and with every seed, of a level shared among so many tests that nothing can be thrown out."""
    monkeypatch.setattr("fedtap.study.advice.halving.LEVEL", 1e-12)
    result, costs = told({"fedavg_ft": noisy(40, 2, 1), "tap": noisy(40, 2, 2)})
    assert (result["stop"], result["kept"][-1], len(result["tied"])) == ("seeds", "local", 2)
    first, *others = advice_sentences(result, costs)
    assert first.endswith("Take the cheapest, fedavg_ft, which asks for the fewest models at a client.")
    assert any(line.startswith("Unlikely to be as good: local, behind ") for line in others)
    assert {row["standing"] for row in result["rows"] if row["method"] == "local"} == {"unlikely"}
    result, costs = told({"fedavg_ft": noisy(40, 2, 1)})
    first, *others = advice_sentences(result, costs)
    assert result["use"] == "fedavg_ft"
    assert first.startswith("Use fedavg_ft: its mean gain over local is +")
    assert "It is likely the best: local would be behind it by " in first
    assert not any(line.startswith("Unlikely") for line in others)
    assert result["more"]["methods"] == ["fedavg_ft", "local"]


def test_level_methods_say_so_and_to_stay_alone_asks_least_of_all() -> None:
    result, costs = told({"fedavg": lambda seed, client: 0.2, "tap": lambda seed, client: 0.1})
    assert (result["stop"], result["use"], result["leader"]) == ("level", "local", "fedavg")
    first, second, *_ = advice_sentences(result, costs)
    assert first == (
        "These are level, surely within 1 point of each other's gain after 3 seeds: fedavg, tap and local. Take the cheapest, "
        "local, which needs no federation."
    )
    assert (
        second == "fedavg has the highest mean gain, +0.2 % (+0.2 to +0.2); local is 0.2 points behind it "
        "(the difference is -0.2 to -0.2)."
    )


def test_what_the_budget_set_aside_is_said_not_to_be_worse() -> None:
    result, costs = told({name: noisy(2, 9, key) for key, name in enumerate(("fedavg", "fedavg_ft", "tap"))}, budget=15)
    (aside, *_) = result["set_aside"]
    assert aside["seeds"] == 3
    rows = {row["method"]: row for row in result["rows"]}
    assert rows[aside["method"]]["standing"] == "set aside"
    text = " ".join(advice_sentences(result, costs))
    assert "Set aside for want of budget, and not shown to be worse: " in text
    assert aside["method"] not in result["kept"]


def test_one_seed_and_few_clients_are_said() -> None:
    result, costs = told({"fedavg": noisy(9, 9, 1)}, clients=3, seeds=(5,))
    text = " ".join(advice_sentences(result, costs))
    assert "This is one seed" in text
    assert "No interval is given, since fewer than five clients have results" in text
    assert "cannot be said from one seed" in text
    grid = advice_grid(result)
    assert [row[4] for row in grid.rows if row[0] != "local"] == ["–"]
    assert "A dash in place of an interval" in grid.note
    assert "A dash" not in advice_grid(told({"fedavg": noisy(9, 9, 1)})[0]).note


def test_a_method_whose_runs_failed_has_no_row_and_is_named() -> None:
    result, costs = told({"fedavg": noisy(9, 9, 1), "tap": noisy(9, 9, 2)}, failing=("tap",))
    assert "tap" not in {row["method"] for row in result["rows"]}
    assert "Left out, since their runs are not complete: tap." in advice_sentences(result, costs)


def test_the_table_has_a_row_a_method_and_prices_beside_local_and_fedavg() -> None:
    result, costs = told({"fedavg": noisy(10, 1, 1), "fedavg_ft": noisy(30, 1, 2)})
    grid = advice_grid(result)
    assert [row[0] for row in grid.rows] == ["fedavg_ft", "fedavg", "local"]
    assert grid.head[-4:] == ["hurt", "hurt, fed.", "steps", "bytes"]
    assert [row[-4:] for row in grid.rows] == [
        ["0 of 6", "0 of 6", "0.87", "1.00"],
        ["0 of 6", "–", "0.67", "1.00"],
        ["–", "6 of 6", "1.00", "0.00"],
    ]
    text = advice_markdown(result, costs)
    assert text.startswith("# Advice: clinics\n\n**Use fedavg_ft: ")
    assert "| fedavg_ft | first | 3 | +" in text
    without, _ = told({"tap": noisy(10, 1, 1)})
    assert advice_grid(without).head[-3:] == ["hurt", "steps", "bytes"]
    assert [row[-1] for row in advice_grid(without).rows] == ["4.0 MB", "0 bytes"]


def test_a_client_is_hurt_where_its_mean_over_tasks_and_common_seeds_is_below_zero() -> None:
    ours = gains_of(by_client(-1.0, 2.0, 0.0), (0, 1), 3)
    base = gains_of(lambda seed, client: 0.0, (0, 1, 2), 3)
    assert hurt(ours, base) == [1, 3]
    second = [Gain(0, "c0", "u", "f", "accuracy", 1.0, 1.0, 5.0, 1)]  # another task of the first client: 5 - 1 - 1 > 0
    assert hurt([*ours, *second], [*base, Gain(0, "c0", "u", "f", "accuracy", 1.0, 1.0, 0.0, 0)]) == [0, 3]
    # with the third seed, which only one of them has, the second client would be hurt
    late = gains_of(lambda seed, client: 100.0 if seed == 2 else 1.0, (0, 1, 2), 3)
    assert hurt(ours, late) == [2, 3]
    assert hurt(ours, []) is None


@pytest.mark.parametrize("turn", [1, -1])
def test_what_asks_least_comes_first_whatever_the_order(turn: int) -> None:
    prices = [*PRICES.values(), Price("choice", 780, 4e6, 4)][::turn]
    assert cheapest_first(prices) == ["local", "fedavg", "fedavg_ft", "tap", "choice"]
