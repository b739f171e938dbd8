"""tap_best is tap with other defaults, to the bit, and takes no more steps than any other method."""

from fedtap.algorithms.registry import make
from fedtap.algorithms.tap_best import TapBest
from tiny import DIGITS, LAW, MOOD, REDRAW_DIGITS, jittered, local_client

SETTINGS = {
    "personal": "shared",
    "start": "chosen",
    "start_margin": 0.1,
    "judge": "calibrated",
    "replace": "average",
    "mix": "end",
    "disentangle": 0.5,
    "distil": False,
    "refit": True,
}
PAIRS = (DIGITS, MOOD, LAW, REDRAW_DIGITS)


def test_it_is_tap_with_these_settings_to_the_bit() -> None:
    ends = []
    for method in (make({"name": "tap_best"}), make({"name": "tap", **SETTINGS})):
        state = None
        for number in (1, 2):
            client = local_client(PAIRS, local_steps=3, round=number)
            received = jittered(client.initial_state(), seed=number, scale=0.05)
            _, state = method.local_round(client, received, state or method.start(client))
            assert client.steps_taken == 3
        last = local_client(PAIRS, round=3, training={"finetune_steps": 4, "select_every": 1})
        end = method.personalise(last, jittered(last.initial_state(), seed=3, scale=0.05), state)
        assert last.steps_taken == 4
        ends.append(end)
    first, second = ends
    assert first.models.keys() == second.models.keys() == {"finetuned", "personal"}
    assert all(first.models[name].equal(second.models[name]) for name in first.models)
    assert first.decisions == second.decisions


def test_its_defaults_can_be_set_back() -> None:
    paper = {
        "personal": "separate",
        "start": "received",
        "start_margin": 0,
        "judge": "cross_entropy",
        "replace": True,
        "mix": False,
        "disentangle": 0,
        "distil": True,
        "refit": False,
    }
    back = make({"name": "tap_best", **paper})
    assert isinstance(back, TapBest)
    assert back.params.model_dump() == make({"name": "tap"}).params.model_dump()
