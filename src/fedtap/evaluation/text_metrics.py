"""The metrics of generated text that a scenario asks for beside the usual ones. A new one is a line here and a name there."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from fedtap.evaluation.encoders import find_encoder
from fedtap.metrics.bertscore import BertScore
from fedtap.metrics.meteor import Meteor, wordnet
from fedtap.metrics.text import TextMetric
from fedtap.scenario.scenario import Scenario


def _meteor(scenario: Scenario, device: torch.device) -> TextMetric:
    return Meteor(wordnet())


def _bertscore(scenario: Scenario, device: torch.device) -> TextMetric:
    return BertScore(find_encoder(scenario.evaluation.bertscore_encoder, scenario.folder, device))


_REGISTRY: Mapping[str, Callable[[Scenario, torch.device], TextMetric]] = {"meteor": _meteor, "bertscore": _bertscore}


def text_metrics(scenario: Scenario, device: torch.device) -> tuple[TextMetric, ...]:
    """Return the metrics of ``evaluation.text_metrics``; none where no client generates text.

    What they need is looked for here, so that it is missed before the training and not after it.

    Raises
    ------
    UserError
        If a package, WordNet or the encoder is missing or broken; says how to get it.
    """
    if not any(pair.type == "text_generation" for client in scenario.clients for pair in client.pairs):
        return ()
    return tuple(_REGISTRY[name](scenario, device) for name in scenario.evaluation.text_metrics)
