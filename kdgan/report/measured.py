"""The metrics that tables show and comparisons go by: their heads, units, digits, and which end is better."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Measured:
    """A metric's column: what the summary calls it, its head, its unit, and which end is better.

    Attributes:
        name: of the metric in summary.json.
        head: of its column.
        scale: what a number is multiplied by to be shown.
        unit: after the number.
        higher_is_better: else lower is.
        digits: arguments of `numbers.decimals`.
    """

    name: str
    head: str
    scale: float
    unit: str
    higher_is_better: bool
    digits: Mapping[str, int]


PERCENT: dict[str, int] = {"default": 2, "lowest": 1, "highest": 2}
SHARE: dict[str, int] = {"default": 3, "lowest": 2, "highest": 3, "significant": 1}
MEASURED = (
    Measured("accuracy", "accuracy", 100.0, "%", True, PERCENT),
    Measured("nll", "NLL", 1.0, "", False, {"default": 3, "lowest": 2, "highest": 4}),
    Measured("ece", "ECE", 100.0, "%", False, PERCENT),
    Measured("agreement", "agreement", 100.0, "%", True, PERCENT),
    Measured("fd", "FD", 1.0, "", False, {"default": 2, "lowest": 1, "highest": 3}),
    Measured("kid", "KID ×10³", 1e3, "", False, {"default": 2, "lowest": 1, "highest": 3}),
    Measured("precision", "precision", 1.0, "", True, SHARE),
    Measured("recall", "recall", 1.0, "", True, SHARE),
    Measured("density", "density", 1.0, "", True, SHARE),  # no share: it may exceed 1
    Measured("coverage", "coverage", 1.0, "", True, SHARE),
    Measured("elbo", "ELBO", 1.0, "", True, {"default": 2, "lowest": 1, "highest": 3}),
)
CLASSIFIERS = ("accuracy", "nll", "ece", "agreement")
# Those that compare features of generated images with features of real ones.
DISTRIBUTIONS = ("fd", "kid", "precision", "recall", "density", "coverage")
PRIMARY = ("accuracy", "fd", "elbo")  # what a comparison goes by: the first that the compared player has
SECOND = {"accuracy": "nll", "fd": "kid"}  # what stands beside it


def of(summary: Mapping[str, Any]) -> tuple[Measured, ...]:
    """The metrics of a run. A Fréchet distance is named by its features, since no two extractors' numbers compare."""
    label = (summary.get("generation") or {}).get("label")
    return tuple(
        dataclasses.replace(each, head=str(label)) if each.name == "fd" and label else each for each in MEASURED
    )


def named(summary: Mapping[str, Any], name: str | None) -> Measured | None:
    return next((each for each in of(summary) if each.name == name), None)


def primary(summary: Mapping[str, Any], players: Iterable[Mapping[str, Any]]) -> Measured | None:
    """What players are compared by: accuracy, else the Fréchet distance, else the ELBO; None where none has any.

    Args:
        summary: the content of summary.json.
        players: metric -> record, of each player compared.
    """
    found = {name for metrics in players for name in metrics}
    return named(summary, next((name for name in PRIMARY if name in found), None))


def second(summary: Mapping[str, Any], first: Measured) -> Measured | None:
    """What stands beside the primary metric: the NLL beside accuracy, the KID beside the Fréchet distance."""
    return named(summary, SECOND.get(first.name))
