"""A student that learns from a frozen teacher's outputs: soft labels, logistic matching, mimicry, a noisy teacher.

Each gives the student two terms: `ce` on the labels, and one that matches the teacher. With `unlabelled=True` the teacher
is matched on the unlabelled images of the batch (`data.unlabelled_batch_size`), too; `ce` never sees them. With
`labels=False` there is no `ce`, and the data need no labels. What the two are for tags, numbers and tokens, and
what all of them take beside their own arguments, says `kdgan/methods/taught.py`.

`standardised=True` puts z-scores of both players' logits in place of the logits, before the loss (logit standardisation,
Sun et al. 2024): the student then need not reach the size of its teacher's. As in its code the deviation has k − 1, not its
paper's k.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from kdgan.game import Terms
from kdgan.losses import logits as losses
from kdgan.losses.standardised import standardise
from kdgan.methods.taught import KINDS, Part, Seen, as_method, soft

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


OF_Z_SCORES = ("class", "tokens")  # kinds of labels whose logits are compared with one another


def outputs_of(seen: Seen, standardised: bool) -> tuple[Any, Any]:
    """What the student and the teacher are compared by: their outputs, or z-scores of them.

    Raises:
      ValueError: z-scores of two classes.
    """
    if not standardised:
        return seen.student, seen.teacher
    if (k := seen.student.shape[-1]) < 3:
        raise ValueError(
            f"method.standardised = True: {k} classes; z-scores of two are constant, 3 or more are accepted"
        )
    return standardise(seen.student), standardise(seen.teacher)


def of_kinds(standardised: bool, kinds: Collection[str] = KINDS, why: str = "") -> dict[str, Any]:
    """Fields of a `Part`: the kinds of labels that it is for, and what another is told."""
    if not standardised:
        return {"kinds": kinds, "why": why}
    return {"kinds": [kind for kind in OF_Z_SCORES if kind in kinds], "why": "standardised = True is for classes"}


def show_standardised(detail: str, standardised: bool) -> str:
    """What an explanation prints behind a term, with a word for z-scores."""
    return ", ".join(part for part in (detail, "z-scores" if standardised else "") if part)


@as_method
def kd(
    *, temperature: Value = 4.0, teacher_temperature: Value | None = None, standardised: bool = False
) -> Part:  # fmt: skip
    """Hinton et al. 2015: λ·CE(y, s) + λ'·T²·KL(softmax(t/T) ‖ softmax(s/T)); terms `ce`, `kd`.

    One temperature for both, or `teacher_temperature` for the teacher, where the factor stays the student's T²; each
    a number or a schedule of the step. Tags are matched by a sigmoid each, numbers by ½‖s − t‖², which a temperature
    does not change.

    RepDistiller and mdistiller have T = 4 and λ 0.1 of `ce`, 0.9 of `kd`. Code that averages over the k classes, too
    (PyTorch's `kl_div` with "mean", Teacher-free KD, ZSKT), has 1/k of this; torchdistill's, where its `alpha` is
    None, has no T².

    With `standardised` z-scores of logits are compared, (x − mean)/deviation over an example's classes (Sun et al.
    2024): T = 2 (3 for some pairs of networks), λ 0.1 and 9. As in their code the deviation has k − 1, not their
    paper's k.
    """
    check_temperature("temperature", temperature)
    check_temperature("teacher_temperature", teacher_temperature)
    kinds = KINDS if teacher_temperature is None else [kind for kind in KINDS if kind != "number"]

    def terms(seen: Seen) -> Terms:
        step = seen.players.step
        of_teacher = None if teacher_temperature is None else value_at(teacher_temperature, step)
        at = value_at(temperature, step)
        pair = outputs_of(seen, standardised)
        return {"kd": soft(seen.label_kind, *pair, temperature=at, teacher_temperature=of_teacher, mask=seen.mask)}

    detail = show("T", temperature) + ("" if teacher_temperature is None else ", " + show("T_t", teacher_temperature))
    why = "numbers have no temperature; leave teacher_temperature out"
    details = {"kd": show_standardised(detail, standardised)}
    return Part("kd", terms, details=details, **of_kinds(standardised, kinds, why))


@as_method
def logistic(*, standardised: bool = False) -> Part:
    """Per-class sigmoid matching, Σ_c BCE(σ(t_c), σ(s_c)), k times its mean over classes; terms `ce`, `logistic`.

    BCE(p, q) = −p·log q − (1 − p)·log(1 − q), σ the sigmoid: each class is a question of yes or no, as in iCaRL
    (Rebuffi et al. 2017). It is smallest where s = t, but not 0 there. Code with `reduction="mean"` has 1/k of it.
    """
    terms = lambda seen: {"logistic": losses.sigmoid_matching(*outputs_of(seen, standardised), mask=seen.mask)}
    fields = of_kinds(standardised, ("class", "tags", "tokens"), "numbers have no sigmoid, take kd or mimic")
    return Part("logistic", terms, details={"logistic": show_standardised("", standardised)}, **fields)


@as_method
def mimic(*, standardised: bool = False) -> Part:
    """Ba & Caruana 2014: ½‖s − t‖² on logits; terms `ce`, `mimic`.

    With k classes `mimic` is k/2 times the mean squared error that other code has, as Knowledge-Distillation-Zoo's "logits"
    (5 times it on ten classes).
    """
    terms = lambda seen: {"mimic": losses.half_squared_error(*outputs_of(seen, standardised), mask=seen.mask)}
    return Part("mimic", terms, details={"mimic": show_standardised("", standardised)}, **of_kinds(standardised))


@as_method
def noisy(*, ratio: float = 0.5, sigma: float = 0.1) -> Part:
    """Sau & Balasubramanian 2016: mimicry of a teacher whose logits are perturbed; terms `ce`, `mimic`.

    ½‖s − t'‖². For a share of the examples (`ratio`) t'_c = (1 + ξ_c)·t_c, with ξ_c ~ N(0, σ²) drawn for each logit;
    else t' = t. KDGAN's code has ratio 0.1, σ 0.1.

    Args:
      ratio: share of the examples that are perturbed.
      sigma: standard deviation of the multiplicative noise: t' = (1 + ξ)·t, ξ ~ N(0, σ²).
    """

    def terms(seen: Seen) -> Terms:
        perturbed = losses.perturb_logits(seen.key, seen.teacher, ratio=ratio, sigma=sigma)
        return {"mimic": losses.half_squared_error(seen.student, perturbed, mask=seen.mask)}

    return Part("noisy", terms, details={"mimic": f"{show('ratio', ratio)}, {show('σ', sigma)}"})
