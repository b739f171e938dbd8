r"""pFedMe: personal models at the Moreau envelope of the loss. Dinh, Tran, Nguyen 2020, NeurIPS, arXiv 2006.08848.

In a round, on each of R batches :math:`D_r`, client i solves for a personal model and moves its copy of w towards it:

.. math::
    \theta_r \approx \arg\min_\theta f_i(\theta; D_r) + \tfrac{\lambda}{2} \|\theta - w_r\|^2, \qquad
    w_{r+1} = w_r - \eta \lambda (w_r - \theta_r), \qquad
    w \leftarrow (1 - \beta) w + \beta \, \overline{w_{i,R}}

The inner problem is solved by K steps on :math:`D_r` from :math:`w_r`; :math:`\lambda (w - \theta)` is the gradient of the
envelope. The personal model is the inner problem's solution at the finished w, on all of the client's data.

Differences from the paper: R = ceil(E / K), so that a round costs the E steps of every method (the last batch gets what is
left of them). The inner solver is AdamW at the round's rate, afresh for each batch (the paper leaves the solver open and
takes gradient steps). A fresh Adam moves every scalar by about the rate in its first steps however small the gradient, so K
steps reach about K rates from w at the most: that bound holds beside :math:`\lambda`, which bends the path only where
:math:`\lambda |\theta - w|` comes near the gradient. The outer step has no optimizer. It is set by ``share``, which is
:math:`\eta\lambda`, so that :math:`\lambda` can be changed alone. The paper's setting (:math:`\eta=.005`,
:math:`\lambda=15`, R = 20) goes four fifths of the way to the personal models in a round, in twenty small steps; at equal
compute a round has but a few steps (two of E = 10), and the default goes all of the way, so that w does not fall behind the
other methods'. The mean over clients is weighted by examples, per component. What is deployed is the inner problem solved at
the finished slice, as the low-rate fine-tuning of every personalising method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import repeat
from typing import Annotated

from pydantic import Field

from fedtap.algorithms.base import Algorithm, ClientState, Params, ServerState, Update
from fedtap.batch import Batch
from fedtap.components import ComponentState, towards
from fedtap.scenario.settings import Float, NonNegative, Positive, Rate
from fedtap.training.client import LocalClient, Trained
from fedtap.training.terms import Proximal, Term


class PFedMeParams(Params):
    """Parameters of pFedMe.

    ``strength`` (lambda, in nats, or MSE, per squared distance of weights) holds the personal models to w; ``inner_steps`` (K)
    are spent on each batch; ``share`` (eta times lambda, at most 1) is how far w then moves towards the personal model; ``beta``
    is how far the server moves to the clients' mean, beyond it where it is above 1.
    """

    strength: NonNegative = 0.1
    inner_steps: Positive = 5
    share: Annotated[Float, Field(gt=0, le=1)] = 1.0
    beta: Rate = 1.0


class PFedMe(Algorithm):
    """Personal models near a common one that is trained to be near all of them."""

    name = "pfedme"
    summary = "personal models held near w (Moreau envelope); w follows them"
    source = "Dinh et al. 2020, arXiv 2006.08848"
    Params = PFedMeParams
    deployed = "personal"
    params: PFedMeParams

    def local_round(
        self, client: LocalClient, received: ComponentState, state: ClientState
    ) -> tuple[Update, ClientState]:
        """Solve for a personal model on one batch after another, w following; send w."""
        left, w = client.scenario.local_steps, received
        turns: list[tuple[Batch, Trained]] = []
        for batch in client.batches(-(-left // self.params.inner_steps), "federated"):
            steps = min(self.params.inner_steps, left)
            personal = client.train(w, steps, repeat(batch, steps), terms=self._pull_towards(w))
            w = towards(w, personal.state, self.params.share)
            turns.append((batch, personal))
            left -= steps
        return Update(w, client.counts(), _mean_losses(turns)), state

    def aggregate(self, server: ServerState, updates: Mapping[str, Update]) -> ServerState:
        """Move each component to the mean over its holders by beta."""
        mean = self.mean(updates)
        return replace(server, components=towards(server.components, mean, dict.fromkeys(mean, self.params.beta)))

    def personalise(self, client: LocalClient, received: ComponentState, state: ClientState) -> ClientState:
        """Solve the inner problem at the finished slice, on all of the client's data."""
        steps = client.scenario.training.finetune_steps
        done = client.finetune(received, steps, "finish", terms=self._pull_towards(received))
        return ClientState({"personal": done.state}, {"finetune_steps_kept": done.kept_steps})

    def models(self, received: ComponentState, state: ClientState) -> Mapping[str, ComponentState]:
        """Return the slice and the personal model."""
        return {"federated": received, **state.models}

    def _pull_towards(self, anchor: ComponentState) -> list[Term]:
        return [Proximal(anchor, self.params.strength)] if self.params.strength else []


def _mean_losses(turns: Sequence[tuple[Batch, Trained]]) -> dict[str, float]:
    """Return per task the mean training loss over the batches that held the task, by its examples in them."""
    sums: dict[str, float] = {}
    sizes: dict[str, int] = {}
    for batch, trained in turns:
        for part in batch:
            task = part.pair.task
            sums[task] = sums.get(task, 0.0) + len(part) * trained.losses[task]
            sizes[task] = sizes.get(task, 0) + len(part)
    return {task: total / sizes[task] for task, total in sums.items()}
