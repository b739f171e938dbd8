"""The sections of a scenario on what becomes of updates between a client and the model. Not here: what carries them out.

``defence`` bounds what a hostile client can do to the federated model (docs/threat-model.md); ``wire`` says in what form
components travel; ``privacy`` adds noise, and tells the server less (docs/privacy.md).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fedtap.scenario.settings import Count, Float, Int, Positive, Rate, Settings

WirePrecision = Literal["fp32", "bf16", "int8"]
MeanName = Literal["weighted", "median", "trimmed_mean", "krum"]
Weights = Literal["component", "client", "uniform"]
"""What a holder of a component weighs in its mean: its examples whose path uses it, all its examples, or one."""
Sampling = Literal["dealt", "uniform", "coverage"]
"""How a round's clients are chosen: like cards, all sets alike, or more often whoever holds what few hold."""


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


class NoiseSettings(Settings):
    """Gaussian noise on a clipped sum: ``clip`` is the norm that one part cannot exceed, ``noise`` a multiple of it."""

    clip: Rate = 1.0
    noise: Rate = 1.0


class CentralSettings(NoiseSettings):
    """Noise that the server adds; ``scope`` says what is clipped, a client's whole ``update`` or each ``component``."""

    scope: Literal["update", "component"] = "update"


class SecureSettings(Settings):
    """Secure aggregation: of a component with at least ``holders`` clients in a round the server sees the sum alone.

    ``bound`` is the largest change of a number in a round that can be sent; what is larger is clipped to it. ``few`` says what
    becomes of components with fewer holders: they are sent as they are (``send``), or stay at the clients (``withhold``).
    """

    holders: Annotated[Int, Field(ge=2)] = 3
    bound: Rate = 1.0
    few: Literal["send", "withhold"] = "send"


class PrivacySettings(Settings):
    """Differential privacy; both kinds are off by default.

    ``central``: the server clips clients' changes and noises their mean, which protects a client's whole part in training from
    whoever sees the federated model, but not from the server. ``local``: a client trains what it uploads by DP-SGD, which
    protects each of its training examples from everybody else, the server too; personal models stay without noise. Either way
    losses, decisions and a method's vectors stay at the clients. ``delta`` is that of the guarantee. ``secure`` masks updates so
    that the server learns sums alone; it adds no noise.
    ``noise_source: secret`` draws noise and samples that nobody can repeat, so that two runs differ; ``seeded`` draws them from
    the run's seed: reproducible, and no protection from anyone who knows the seed. ``blur_counts`` rounds the numbers of examples
    that clients tell, to multiples of it; it needs neither kind of noise.
    """

    central: CentralSettings | None = None
    local: NoiseSettings | None = None
    secure: SecureSettings | None = None
    delta: Annotated[Float, Field(gt=0, lt=1)] = 1e-5
    noise_source: Literal["secret", "seeded"] = "secret"
    blur_counts: Positive | None = None

    @property
    def noised(self) -> bool:
        """Whether there is noise of either kind."""
        return self.central is not None or self.local is not None

    def reported(self, examples: int) -> int:
        """Return a number of examples as a client tells it: the nearest multiple of ``blur_counts``, and at least one.

        >>> [PrivacySettings(blur_counts=50).reported(n) for n in (3, 74, 76, 100)]
        [50, 50, 100, 100]
        """
        step = self.blur_counts
        return examples if step is None else max(step, (examples + step // 2) // step * step)


class Safety(Settings):
    """The sections of one scenario together, as the server takes them."""

    defence: DefenceSettings = DefenceSettings()
    wire: WireSettings = WireSettings()
    privacy: PrivacySettings = PrivacySettings()
    weights: Weights = "component"
    sampling: Sampling = "dealt"

    def clash(self) -> str | None:
        """Return what does not go together, and the mend, or None."""
        defence = self.defence
        if self.weights != "component" or self.sampling == "coverage":
            alike = {
                f"defence.mean={defence.mean} counts every holder alike": defence.mean != "weighted",
                "privacy.central counts every client alike": self.privacy.central is not None,
                "privacy.secure masks components with their own weights": self.privacy.secure is not None,
            }
            for why, given in alike.items():
                if given and self.weights != "component":
                    return f"{why}, so weights={self.weights} would do nothing; remove one of the two"
                if given:
                    return f"{why}, so that what sampling=coverage draws more often would weigh more; remove one of the two"
        if self.privacy.central is not None and defence != DefenceSettings():
            return (
                "privacy.central clips changes and averages all clients alike, and its guarantee holds for that alone; "
                "remove the section defence, or privacy.central"
            )
        if self.privacy.secure is not None:
            single = {
                "the section defence": defence != DefenceSettings(),
                "privacy.central": self.privacy.central is not None,
                "wire.precision": self.wire.precision != "fp32",
            }
            for what, given in single.items():
                if given:
                    return f"privacy.secure hides single updates, which {what} works on; remove one of them"
        return None
