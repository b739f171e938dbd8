"""Model cards: complete, and not to be broken by what they quote."""

from typing import Any

from fedtap.reporting.cards import CardTask, model_card

TASKS = [
    CardTask("vqa", "text_generation", "image+text", "scenes", "easy-VQA", "MIT"),
    CardTask("digits", "classification", "image", "digits", "Optical digits", "CC BY 4.0"),
]
ROWS = [
    {
        "client": "c1",
        "task": "vqa",
        "model": "personal",
        "split": "test",
        "metric": "exact_match",
        "value": 0.75,
        "n": 128,
    },
    {
        "client": "c1",
        "task": "vqa",
        "model": "majority",
        "split": "test",
        "metric": "exact_match",
        "value": 0.36,
        "n": 128,
    },
    {
        "client": "c1",
        "task": "vqa",
        "model": "federated",
        "split": "test",
        "metric": "exact_match",
        "value": 0.5,
        "n": 128,
    },
    {
        "client": "c1",
        "task": "vqa",
        "model": "personal",
        "split": "cross",
        "metric": "exact_match",
        "value": 0.11,
        "n": 128,
    },
    {
        "client": "c2",
        "task": "vqa",
        "model": "personal",
        "split": "test",
        "metric": "exact_match",
        "value": 0.22,
        "n": 128,
    },
]


def card(**changes: Any) -> str:
    given: dict[str, Any] = {
        "client": "c1", "model": "personal", "method": "tap", "scenario": "quickstart", "seed": 4,
        "backbone": "EfficientNet-Lite0 and MiniLM-L6", "tasks": TASKS, "rows": ROWS, "version": "0.1.0",
    }  # fmt: skip
    return model_card(**{**given, **changes})


def test_it_names_method_data_and_licences() -> None:
    text = card()
    for expected in ("# Model `personal` of client `c1`", "`tap`", "seed 4", "`quickstart`", "fedtap 0.1.0", "never uploaded",
                     "| vqa | text_generation | image+text | scenes | easy-VQA | MIT |", "CC BY 4.0", "## Limits"):  # fmt: skip
        assert expected in text, expected


def test_it_shows_this_model_s_own_scores_beside_the_baseline() -> None:
    text = card()
    assert "| vqa | exact match | 0.750 | 128 | 0.360 (majority) |" in text
    assert "0.220" not in text  # another client's
    assert "0.110" not in text  # on other clients' data
    assert "0.500" not in text  # another model's


def test_it_shows_how_to_use_the_model() -> None:
    text = card()
    assert "fedtap predict RUN --client c1 --task vqa --model personal --image FILE.png --text 'some text'" in text
    start = text.index("```python\n") + len("```python\n")
    compile(text[start : text.index("```", start)], "example", "exec")


def test_without_scores_there_is_no_table_of_them() -> None:
    assert "Scores" not in card(rows=())


def test_quoted_text_cannot_break_the_card() -> None:
    nasty = CardTask("t", "classification", "text", "d", "a | b\n# heading <b>", "none")
    line = next(line for line in card(tasks=[nasty]).splitlines() if line.startswith("| t |"))
    assert line == "| t | classification | text | d | a \\| b # heading &lt;b> | none |"
