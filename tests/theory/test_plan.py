"""The plan of a federation by hand, what is said to starve and what would mend it; and a run beside its plan."""

import subprocess
import sys
from typing import Any

import pytest

from fedtap.theory.observed import logged_plan, observed
from fedtap.theory.plan import FederationPlan, federation_plan
from fedtap.theory.sampling import sampling

HOLDINGS = {
    "a1": {"trunk": 10, "head/a": 10},
    "a2": {"trunk": 10, "head/a": 10},
    "a3": {"trunk": 10, "head/a": 10},
    "b1": {"trunk": 30, "head/b": 10},
}
TASKS = {"trunk": ["a", "b"], "head/a": ["a"], "head/b": ["b"]}
EXAMPLES = {"a1": 10, "a2": 10, "a3": 10, "b1": 10}


def plan(drawn: int = 1, **changes: Any) -> FederationPlan:
    given = {"examples": EXAMPLES, "rounds": 20, "steps": 4, "pairs": 2, **changes}
    return federation_plan(HOLDINGS, TASKS, drawn=drawn, **given)


def test_by_hand() -> None:
    found = plan()
    parts = {part.component: part for part in found.components}
    assert [part.component for part in found.components] == ["head/b", "head/a", "trunk"]  # the most starved first
    assert {name: part.sampling.pi for name, part in parts.items()} == {
        "head/b": pytest.approx(0.25),
        "head/a": pytest.approx(0.75),
        "trunk": 1.0,
    }
    assert parts["head/b"].updates == pytest.approx(5)
    assert parts["head/b"].starves
    assert not parts["head/a"].starves
    assert found.starving == (parts["head/b"],)
    assert found.tie == pytest.approx(4)
    assert found.shorter == pytest.approx((0.75 * 4) ** 0.5)
    assert parts["head/a"].most == 1.0
    assert found.price == pytest.approx((3 * 4 / 3 + 4) / 4)  # one client a round: rho is 1, and the price 1 / pi
    assert parts["trunk"].holders == tuple(HOLDINGS)
    assert parts["trunk"].tasks == ("a", "b")


def test_advice_says_what_would_feed_it() -> None:
    told = "\n".join(plan().advice())
    assert "1 of 3 components starves" in told
    assert "The least: head/b, held by 1 of 4, in about 5 of 20 rounds." in told
    assert "clients_per_round=2 trains it in 50% of rounds" in told
    assert sampling(4, 1, 2).pi == pytest.approx(0.5)
    assert "rounds=80 give it as many updates" in told
    assert "1 component of one client alone (head/b)" in told
    assert "1 component used by several tasks (trunk)" in told
    assert "wants steps 1.73 times shorter" in told
    assert not plan(drawn=2).starving
    assert "No component starves" in "\n".join(plan(drawn=2).advice())


def test_all_clients_every_round_leave_nothing_to_mend_but_weights() -> None:
    found = plan(drawn=9)
    assert found.drawn == 4
    assert found.tie == 1.0
    told = "\n".join(found.advice())
    assert "starve:" not in told
    assert "times shorter" not in told
    # b1's 30 counted examples of the trunk stand against 10 in the objective: shares 1/6, 1/6, 1/6, 1/2 instead of 1/4 each
    trunk = found.components[-1]
    assert trunk.component == "trunk"
    assert trunk.floor == pytest.approx((4 * (3 * (1 / 12) ** 2 + (1 / 4) ** 2)) ** 0.5)
    assert f"up to {trunk.floor:.2f} times" in told
    same = federation_plan(HOLDINGS, TASKS, examples={**EXAMPLES, "b1": 30}, drawn=4, rounds=1, steps=1, pairs=2)
    assert max(part.floor for part in same.components) == pytest.approx(0, abs=1e-12)


def test_a_federation_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no client holds a component"):
        federation_plan({"a": {}}, {}, examples={"a": 1}, drawn=1, rounds=1, steps=1, pairs=0)


# --- a run beside it -----------------------------------------------------------------------------------------------------


def look(after: int, component: str, **values: Any) -> dict[str, Any]:
    told = {
        "gradient2": 1.0,
        "zeta2": 2.0,
        "zeta2_pairs": 0.5,
        "noise2": 1.0,
        "noise2_most": 3.0,
        "alignment": None,
        "apart": None,
    }
    return {"event": "theory_component", "round": after, "component": component, **told, **values}


def events(**last: Any) -> list[dict[str, Any]]:
    rounds = [["a1", "b1"], ["a1", "a2"], ["a2"]]
    told: list[dict[str, Any]] = [{"event": "theory_plan", "round": 0, **plan(2).to_json()}]
    for after in (0, 3):
        told += [look(after, name, **(last if after and name == "trunk" else {})) for name in TASKS]
        told.append(
            {"event": "theory", "round": after, "loss": 5.0 - after, "smoothness": 2.0, "gradients": 7, "seconds": 1.5}
        )
    return told + [{"event": "round_finished", "round": n, "clients": who} for n, who in enumerate(rounds, start=1)]


def test_updates_and_averaging_are_counted() -> None:
    told = events()
    expected = logged_plan(told)
    assert expected is not None
    seen = observed(expected, told)
    parts = {part.name: part for part in seen.components}
    assert seen.rounds == 3
    assert {name: part.updates for name, part in parts.items()} == {"head/b": 1, "head/a": 3, "trunk": 3}
    assert parts["head/a"].rho == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert parts["head/b"].expected == pytest.approx(3 * 0.5)
    assert parts["trunk"].between == pytest.approx(0.25)
    assert observed(expected, []).components[0].rho is None
    assert logged_plan([]) is None


def test_tasks_that_pull_apart_at_the_end_are_named() -> None:
    told = events(apart=["a", "b", -0.4], zeta2=-1.0)
    seen = observed(told[0], told)
    assert seen.apart() == [("trunk", "a", "b", -0.4)]
    assert observed(told[0], events(apart=["a", "b", 0.4])).apart() == []
    assert {part.name: part for part in seen.components}["trunk"].mean("zeta2") == 0.5


def test_the_bound_of_a_run() -> None:
    told = events(gradient2=3.0)
    seen = observed(told[0], told)
    pi = {part.name: part.plan["pi"] for part in seen.components}
    share = {"trunk": 1.0, "head/a": 0.75, "head/b": 0.25}
    left = sum(pi[name] * share[name] * (2.0 if name == "trunk" else 1.0) for name in TASKS)
    assert seen.left == pytest.approx(left)
    right, step, longest = seen.right(rate=0.001, steps=4)
    assert right is not None
    assert (step, longest) == (pytest.approx(0.004), pytest.approx(1 / (8 * max(1, (0.75 * 2) ** 0.5))))
    assert right.optimisation == pytest.approx(7 / 3 * 5 / (0.004 * 3))
    assert right.sampling > 0
    assert right.drift > 0
    none, step, _ = seen.right(rate=1.0, steps=4)
    assert none is None
    assert step == 4.0
    assert observed(told[0], []).left is None


def test_no_room_of_tensors_is_needed() -> None:
    names = ("sampling", "counts", "bound", "plan", "observed", "estimators")
    code = (
        f"import sys; {'; '.join(f'import fedtap.theory.{name}' for name in names)}; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
