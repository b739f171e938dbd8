"""The metrics of generated text that a scenario asks for: found before training, and in the results of models and baselines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nltk
import pytest

from fedtap.batch import NO_TOKEN
from fedtap.data.loader import ClientData
from fedtap.evaluation.evaluate import score
from fedtap.evaluation.text_metrics import text_metrics
from fedtap.evaluation.trivial import trivial_rows
from fedtap.metrics import meteor
from fedtap.network.network import Network
from fedtap.pairs import Pair
from fedtap.reporting.run.tables import every_metric
from fedtap.runtime.errors import UserError
from fedtap.scenario.scenario import Scenario
from fedtap.study.families import Entrant, family_rows
from fedtap.study.statistics import Run
from fedtap.tasks.base import ScoreSettings
from tiny import CPU, LAW, MOOD, VQA, build_network, client_data, examples, scenario_of, words
from tiny_bert import write_bert

USUAL = {"cross_entropy", "perplexity", "exact_match", "chrf", "rouge_l"}


def asking(*names: str, pair: Pair = LAW, **settings: Any) -> Scenario:
    return scenario_of({"c": [pair]}, evaluation={"text_metrics": names, **settings})


@pytest.fixture
def no_wordnet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nltk.data, "path", [])


class Said:
    """Remembers what was said in place of what."""

    name = "said"

    def __call__(self, predictions: Sequence[str], references: Sequence[str]) -> float:
        self.predictions, self.references = list(predictions), list(references)
        return 0.25


def loaded(pair: Pair) -> Network:
    """Return a network with its starting weights in it."""
    network = build_network([pair])
    network.load(network.initial_state(network.architecture.plan([pair])))
    return network


def test_by_default_there_is_none() -> None:
    assert text_metrics(scenario_of({"c": [LAW]}), CPU) == ()


@pytest.mark.usefixtures("no_wordnet")
def test_they_come_in_the_order_asked_for_with_their_encoder_in_the_name(tmp_path: Path) -> None:
    folder = write_bert(tmp_path / "some-bert")
    found = text_metrics(asking("bertscore", "meteor", bertscore_encoder=str(folder)), CPU)
    assert [metric.name for metric in found] == ["bertscore_f1[some-bert]", "meteor-exact-stem"]


def test_a_federation_without_generated_text_needs_nothing_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meteor, "PACKAGE", "no_such_package_at_all")
    assert text_metrics(asking("meteor", pair=MOOD), CPU) == ()
    with pytest.raises(UserError, match="pip install"):
        text_metrics(asking("meteor"), CPU)


def test_a_models_texts_are_scored_by_them() -> None:
    network, data = loaded(LAW), examples(LAW, 6, split="test")
    said = Said()
    plain = score(network, [data], ScoreSettings())
    more = score(network, [data], ScoreSettings(text_metrics=(said,)))
    assert plain.keys() == USUAL
    assert more == plain | {"said": (0.25, 6)}
    assert len(said.predictions) == len(said.references) == 6
    assert plain["perplexity"] == (math.exp(plain["cross_entropy"][0]), plain["cross_entropy"][1])


def test_the_reference_is_what_was_written_however_the_model_would_spell_it() -> None:
    """Neither cut to what the model can write, nor spelled by its words: two signs that it does not know are two answers."""
    network, data, said = loaded(LAW), examples(LAW, 6, split="test"), Said()
    written = ("🙂", "😡", "雪", "An answer of more words than the model's head has places for", "Yes!", "yes")
    found = score(network, [replace(data, written=written)], ScoreSettings(text_metrics=(said,)))
    assert tuple(said.references) == written
    assert found["exact_match"][0] < 1


def test_an_answer_that_never_varies_matches_as_often_as_it_was_written() -> None:
    data = client_data([LAW])
    splits = {
        split: replace(part, written=("🙂", "😡", "🙂", "雪") * 3) for split, part in data.tasks[LAW.task].items()
    }
    rows = trivial_rows(client="c", pairs=[LAW], data=ClientData({LAW.task: splits}), words=words(), unseen=False)
    (value,) = (row["value"] for row in rows if (row["model"], row["metric"]) == ("majority", "exact_match"))
    assert value == 0.5


def test_of_a_classifier_they_say_nothing() -> None:
    network, data = loaded(MOOD), examples(MOOD, 6)
    classes = network.architecture.blueprint.heads[MOOD.head].classes
    assert "said" not in score(network, [data], ScoreSettings(classes, (Said(),)))


@pytest.mark.parametrize("pair", [LAW, VQA])
def test_the_most_frequent_answer_is_scored_by_them_too(pair: Pair) -> None:
    data, said = client_data([pair]), Said()
    about = {"client": "c", "pairs": [pair], "data": data, "words": words(), "unseen": False}
    plain, more = trivial_rows(**about), trivial_rows(**about, text_metrics=[said])
    (row,) = (row for row in more if row not in plain)
    assert (row["model"], row["metric"], row["value"], row["n"]) == ("majority", "said", 0.25, 12)
    answers = [words().decode(ids[ids != NO_TOKEN].tolist()) for ids in data.tasks[pair.task]["train"].target]
    assert len(set(said.predictions)) == 1
    assert said.predictions[0] in answers
    by_name = {(row["model"], row["metric"]): row for row in plain}
    entropy, perplexity = (by_name["unigram", metric] for metric in ("cross_entropy", "perplexity"))
    assert perplexity["value"] == pytest.approx(math.exp(entropy["value"]))
    assert (
        perplexity["n"]
        == entropy["n"]
        == sum(int((ids != NO_TOKEN).sum()) for ids in data.tasks[pair.task]["test"].target)
    )


def test_an_encoder_in_a_name_goes_through_comparisons_and_tables() -> None:
    about = {"client": "c", "task": "law", "family": "text_generation", "model": "local", "split": "test", "n": 3}
    values = {"cross_entropy": 2.0, "bertscore_f1[org/some_encoder]": 0.5, "meteor-exact-stem": 0.25}
    rows = [{**about, "metric": metric, "value": value} for metric, value in values.items()]
    made = family_rows(
        [Run("local", 0, rows)], [Entrant("local", "local")], split="test", primary={"law": "cross_entropy"}
    )
    assert [(row["metric"], row["primary"]) for row in made] == [
        ("cross_entropy", True),
        ("bertscore_f1[org/some_encoder]", False),
        ("meteor-exact-stem", False),
    ]
    page = every_metric(rows)
    assert "BERTScore F1 [org/some_encoder]" in page
    assert "METEOR without synonyms" in page
