"""A student that learns from a frozen teacher's outputs: soft labels, logistic matching, mimicry, a noisy teacher.

Each gives the student two terms: `ce` on the labels, and one that matches the teacher. With `unlabelled=True` the teacher
is matched on the unlabelled images of the batch (`data.unlabelled_batch_size`), too; `ce` never sees them. With
`labels=False` there is no `ce`, and the data need no labels. What the two are for tags, numbers and tokens says
`kdgan/methods/labels.py`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from kdgan.game import Batch, Method, Move, Players
from kdgan.losses import logits as losses
from kdgan.methods.labels import check_kind, kept, on_label, soft

Value = float | Callable[[Any], Any]  # a number, or a schedule of the step

# How far two sets of outputs are apart, by name: (label_kind, student, teacher, temperature) -> [b].
DISTANCES: Mapping[str, Callable[..., Any]] = {
    "kl": lambda label_kind, s, t, temperature: soft(label_kind, s, t, temperature=temperature),
    "l2": lambda label_kind, s, t, temperature: losses.half_squared_error(s, t),
}


def distance(name: str) -> Callable[..., Any]:
    """One of `DISTANCES`, or a ValueError that lists them."""
    if name not in DISTANCES:
        raise ValueError(f"method.distillation = {name!r}: accepted are {', '.join(DISTANCES)}")
    return DISTANCES[name]


def value_at(value: Value, step) -> Any:
    """A hyper-parameter at a step: itself, or its schedule's value."""
    return value(step) if callable(value) else value


def show(symbol: str, value: Value | None) -> str:
    """How an explanation writes a hyper-parameter: `T=4`, or `T(step)` where it is scheduled."""
    return f"{symbol}(step)" if callable(value) else f"{symbol}={value:g}"


def check_temperature(name: str, value: Value | None) -> None:
    if value is not None and not callable(value) and not value > 0:
        raise ValueError(f"method.{name} = {value}: a temperature must be positive")


def images(batch: Batch, unlabelled: bool) -> Any:
    """The images on which outputs are matched: the labelled ones first, then the unlabelled where asked for."""
    if not unlabelled:
        return batch["image"]
    if "all" not in batch:
        raise ValueError("method.unlabelled = True needs data.unlabelled_batch_size > 0 (the batch has no such images)")
    return batch["all"]["image"]


def _matching(
    term: str,
    match: Callable[[Players, Any, Any, Any, Any], Any],
    *,
    labels: bool,
    unlabelled: bool,
    label_kind: str,
    detail: str = "",
) -> Method:
    """`match` is given players, both outputs, a key and the tokens that count (None: all)."""

    def student(players, batch, key):
        x = images(batch, unlabelled)
        s, t = players.student(x), players.teacher(x)
        mask = kept(label_kind, batch, unlabelled)
        ce = {"ce": on_label(label_kind, s[: len(batch["image"])], batch)} if labels else {}
        return {**ce, term: match(players, s, t, key, mask)}

    return Method(Move("student", student, details={term: detail} if detail else None))


def kd(
    *,
    temperature: Value = 4.0,
    teacher_temperature: Value | None = None,
    labels: bool = True,
    unlabelled: bool = False,
    label_kind: str = "class",
) -> Method:
    """Hinton et al. 2015: w1·CE(y, s) + w2·T²·KL(softmax(t/T) ‖ softmax(s/T)); terms `ce`, `kd`.

    One temperature for both, or `teacher_temperature` for the teacher; each a number or a schedule of the step. Tags are
    matched by a sigmoid each, numbers by ½‖s − t‖², which a temperature does not change.
    """
    check_kind("kd", label_kind)
    check_temperature("temperature", temperature)
    check_temperature("teacher_temperature", teacher_temperature)
    if label_kind == "number" and teacher_temperature is not None:
        raise ValueError("method.teacher_temperature: numbers have no temperature; leave it out")

    def match(players, s, t, key, mask):
        of_teacher = None if teacher_temperature is None else value_at(teacher_temperature, players.step)
        at = value_at(temperature, players.step)
        return soft(label_kind, s, t, temperature=at, teacher_temperature=of_teacher, mask=mask)

    detail = show("T", temperature) + ("" if teacher_temperature is None else ", " + show("T_t", teacher_temperature))
    detail = "" if label_kind == "number" else detail
    return _matching("kd", match, labels=labels, unlabelled=unlabelled, label_kind=label_kind, detail=detail)


def logistic(*, labels: bool = True, unlabelled: bool = False, label_kind: str = "class") -> Method:
    """Per-class sigmoid matching, Σ_c BCE(σ(t_c), σ(s_c)), k times its mean over classes; terms `ce`, `logistic`."""
    check_kind("logistic", label_kind, ("class", "tags", "tokens"), "numbers have no sigmoid, take kd or mimic")
    match = lambda players, s, t, key, mask: losses.sigmoid_matching(s, t, mask=mask)
    return _matching("logistic", match, labels=labels, unlabelled=unlabelled, label_kind=label_kind)


def mimic(*, labels: bool = True, unlabelled: bool = False, label_kind: str = "class") -> Method:
    """Ba & Caruana 2014: ½‖s − t‖² on logits; terms `ce`, `mimic`.

    With k classes `mimic` is k/2 times the mean squared error that other code has (5 times it on ten classes).
    """
    check_kind("mimic", label_kind)
    match = lambda players, s, t, key, mask: losses.half_squared_error(s, t, mask=mask)
    return _matching("mimic", match, labels=labels, unlabelled=unlabelled, label_kind=label_kind)


def noisy(
    *, ratio: float = 0.5, sigma: float = 0.1, labels: bool = True, unlabelled: bool = False, label_kind: str = "class"
) -> Method:  # fmt: skip
    """Sau & Balasubramanian 2016: mimicry of a teacher whose logits are perturbed; terms `ce`, `mimic` (as `mimic`'s).

    Args:
      ratio: share of the examples that are perturbed.
      sigma: standard deviation of the multiplicative noise: t' = (1 + ξ)·t, ξ ~ N(0, σ²).
      labels: whether there is a term `ce`.
      unlabelled: match on unlabelled images, too.
      label_kind: kind of the label; the data's where a run is asked for.
    """
    check_kind("noisy", label_kind)

    def match(players, s, t, key, mask):
        return losses.half_squared_error(s, losses.perturb_logits(key, t, ratio=ratio, sigma=sigma), mask=mask)

    detail = f"{show('ratio', ratio)}, {show('σ', sigma)}"
    return _matching("mimic", match, labels=labels, unlabelled=unlabelled, label_kind=label_kind, detail=detail)
