"""The sections of a scenario on what becomes of updates between a client and the model. Not here: what carries them out.

``defence`` bounds what a hostile client can do to the federated model (docs/threat-model.md); ``wire`` says in what form
components travel.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fedtap.settings import Count, Float, Positive, Rate, Settings

WirePrecision = Literal["fp32", "bf16", "int8"]
MeanName = Literal["weighted", "median", "trimmed_mean", "krum"]


class DefenceSettings(Settings):
    """What the server does against updates that are wrong or hostile; everything is off by default.

    ``norm_bound`` bounds, for each client and component, the L2 norm of the change from what was sent; ``norm_ratio`` bounds it
    relative to the median norm of the round's changes of that component, where at least three clients changed it. What exceeds a
    bound is scaled back to it (``excess: clip``) or left out (``refuse``).
    ``mean`` is how a component's holders are averaged: ``weighted`` by their examples, or by a robust rule in which every holder
    counts alike: the coordinate ``median``, the ``trimmed_mean`` without the share ``trim`` at each end, or multi-``krum``, the
    mean of the ``krum_keep`` holders (by default all but ``attackers`` and two) that lie closest to the others. Of one or two
    holders every robust rule is the plain mean.
    """

    norm_bound: Rate | None = None
    norm_ratio: Rate | None = None
    excess: Literal["clip", "refuse"] = "clip"
    mean: MeanName = "weighted"
    trim: Annotated[Float, Field(gt=0, lt=0.5)] = 0.2
    attackers: Count = 1
    krum_keep: Positive | None = None


class WireSettings(Settings):
    """In what form components travel, both ways (:mod:`fedtap.federation.wire`).

    ``precision`` is ``fp32``, ``bf16`` (half of the bytes) or ``int8`` with a scale for each row (about a quarter). With
    ``feedback`` a client adds to its next update what the last one lost on the way; fp32 loses nothing.
    """

    precision: WirePrecision = "fp32"
    feedback: bool = True


class Safety(Settings):
    """The sections of one scenario together, as the server takes them."""

    defence: DefenceSettings = DefenceSettings()
    wire: WireSettings = WireSettings()
