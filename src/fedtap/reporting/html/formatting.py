"""Numbers and names as people read them."""

from __future__ import annotations

from collections.abc import Sequence

FAMILIES = {
    "image_classification": "image classification",
    "text_classification": "text classification",
    "image_text_classification": "image and text classification",
    "image_generation": "image generation",
    "text_generation": "text generation",
    "image_regression": "image regression",
    "text_regression": "text regression",
    "image_text_regression": "image and text regression",
}
METRICS = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "example_f1": "F1 per example",
    "average_precision": "mAP",
    "balanced_accuracy": "balanced accuracy",
    "auroc": "AUROC",
    "cross_entropy": "cross-entropy",
    "perplexity": "perplexity",
    "mse": "MSE",
    "mae": "MAE",
    "r2": "R²",
    "psnr": "PSNR",
    "ssim": "SSIM",
    "exact_match": "exact match",
    "chrf": "chrF",
    "rouge_l": "ROUGE-L",
    "meteor": "METEOR",
    "meteor-exact-stem": "METEOR without synonyms",
    "bertscore_f1": "BERTScore F1",
}


def family_name(family: str) -> str:
    """Return a task family's name in words."""
    return FAMILIES.get(family, family.replace("_", " "))


def metric_name(metric: str) -> str:
    """Return a metric's name in words; the encoder that it depends on stays as it is called.

    >>> metric_name("exact_match"), metric_name("bertscore_f1[org/some_encoder]")
    ('exact match', 'BERTScore F1 [org/some_encoder]')
    """
    kind, bracket, encoder = metric.partition("[")
    words = METRICS.get(kind, kind.replace("_", " "))
    return f"{words} [{encoder}" if bracket else words


def human_bytes(number: float) -> str:
    """Return bytes in decimal units.

    >>> human_bytes(0), human_bytes(1), human_bytes(1234), human_bytes(5_600_000)
    ('0 bytes', '1 byte', '1.2 kB', '5.6 MB')
    """
    if number < 1000:
        return f"{number:.0f} byte{'' if round(number) == 1 else 's'}"
    for unit in ("kB", "MB", "GB"):
        number /= 1000
        if round(number, 1) < 1000:
            return f"{number:.1f} {unit}"
    return f"{number / 1000:.1f} TB"


def human_seconds(seconds: float) -> str:
    """Return a duration, coarser the longer it is.

    >>> human_seconds(4.21), human_seconds(75), human_seconds(3725)
    ('4.2 s', '1 min 15 s', '1 h 2 min')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def number(value: float | None) -> str:
    """Return a metric's value to three decimals, small ones to three significant digits; a dash where there is none.

    >>> number(0.5), number(0.00123), number(21.456), number(None)
    ('0.500', '0.00123', '21.46', '–')
    """
    if value is None:
        return "–"
    if value != 0 and abs(value) < 0.01:
        return f"{value:.3g}"
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"


def plural(count: int, noun: str, many: str | None = None) -> str:
    """Return a count with its noun.

    >>> plural(1, "client"), plural(3, "reply", "replies")
    ('1 client', '3 replies')
    """
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"


def signed(value: float | None, digits: int = 1) -> str:
    """Return a difference with its sign; a dash where there is none, and no sign where it rounds to nothing.

    >>> signed(4.81), signed(-0.04), signed(None)
    ('+4.8', '0.0', '–')
    """
    if value is None:
        return "–"
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text


NO_INTERVAL = (
    "A dash in place of an interval: fewer than five clients have results there, too few to say how sure the mean is."
)
ONE_SEED = "one seed"
"""Stands beside every interval of one seed, which speaks of other clients and not of other seeds."""


def between(ends: Sequence[float] | None, *, seeds: int) -> str:
    """Return an interval of differences; a dash where there is none (``NO_INTERVAL`` says why).

    >>> between([-1.25, 3], seeds=3), between([-1.25, 3], seeds=1), between(None, seeds=1)
    ('-1.2 to +3.0', '-1.2 to +3.0, one seed', '–')
    """
    return "–" if ends is None else f"{signed(ends[0])} to {signed(ends[1])}{_of_one(seeds)}"


def within(ends: Sequence[float] | None, *, seeds: int) -> str:
    """Return an interval of values; a dash where there is none.

    >>> within([0.5, 0.625], seeds=2), within([0.5, 0.625], seeds=1), within(None, seeds=2)
    ('0.500 to 0.625', '0.500 to 0.625, one seed', '–')
    """
    return "–" if ends is None else f"{number(ends[0])} to {number(ends[1])}{_of_one(seeds)}"


def _of_one(seeds: int) -> str:
    return f", {ONE_SEED}" if seeds == 1 else ""


def p_value(p: float | None) -> str:
    """Return a p-value to three decimals.

    >>> p_value(0.0312), p_value(0.00001), p_value(None)
    ('0.031', '< 0.001', '–')
    """
    if p is None:
        return "–"
    return "< 0.001" if p < 0.0005 else f"{p:.3f}"


def listed(names: Sequence[str], most: int = 4) -> str:
    """Return names as a list in a sentence; more than ``most`` are cut short.

    >>> listed(["a"]), listed(["a", "b", "c"]), listed(["a", "b", "c", "d"], most=2)
    ('a', 'a, b and c', 'a, b and 2 others')
    """
    if len(names) > most:
        rest = len(names) - most
        return f"{', '.join(names[:most])} and {rest} other{'' if rest == 1 else 's'}"
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
