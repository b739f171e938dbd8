"""The reference of a scenario's keys is what the settings say today, and says all of them."""

import runpy
from pathlib import Path

from fedtap.scenario.scenario import Scenario
from fedtap.scenario.training import TrainingSettings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "scenario-keys.md").read_text(encoding="utf-8")


def test_the_page_is_current() -> None:
    tool = runpy.run_path(str(ROOT / "tools" / "scenario_keys.py"))
    assert tool["reference"]() == PAGE, "run: python tools/scenario_keys.py"


def test_every_key_of_the_top_and_of_training_has_a_row_with_its_default() -> None:
    for key in (*Scenario.model_fields.keys() - {"folder"}, *TrainingSettings.model_fields):
        assert f"\n| `{key}` | " in PAGE
    assert "\n| `rounds` | whole number, above 0, at most 1,000,000 | `15` |\n" in PAGE
    assert "\n| `optimizer` | `adamw`, `sgd` | `adamw` |\n" in PAGE
    assert "\n## `clients[].tasks[]`\n" in PAGE
    assert "\n### `tap`\n" in PAGE
