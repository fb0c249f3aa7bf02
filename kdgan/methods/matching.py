"""A student that learns from a frozen teacher's logits by more than their divergence: DKD, DIST, MLKD, CTKD.

Each adds its terms to `ce` on the labels, alone or with others in `combine`, and takes `standardised` as `kd` does. What is
of classes is refused for labels of another kind.
"""

import math
from collections.abc import Sequence

from kdgan.game import Terms
from kdgan.losses import correlation, decoupled
from kdgan.losses import logits as losses
from kdgan.methods.logits import (
    Value,
    check_temperature,
    of_kinds,
    outputs_of,
    show,
    show_standardised,
    value_at,
)
from kdgan.methods.taught import Part, Seen, as_method, single_classes


@as_method
def dkd(*, temperature: Value = 4.0, standardised: bool = False) -> Part:
    """DKD (Zhao et al. 2022): α·T²·KL of (p_y, 1 − p_y) + β·T²·KL of the others; terms `ce`, `target`, `others`.

    Decoupled: with p = softmax(t/T) and q = softmax(s/T) `target` compares (p_y, 1 − p_y) with (q_y, 1 − q_y), and
    `others` the other classes among themselves, p_c/(1 − p_y) with q_c/(1 − q_y), of which there must be two or more.

    α and β are the λ's of `target` and `others`: 1 and 8 in mdistiller (β 2 to 8 by the pair of networks), which
    raises both linearly over the first 20 epochs; λ's may be schedules. mdistiller takes logarithms of a softmax,
    which may be −inf; ours cannot.

    Args:
      temperature: T, a number or a schedule.
      standardised: whether z-scores of the logits are compared.

    Raises:
      ValueError: while shapes are traced: two classes, of which there are no others; mixed labels.
    """
    check_temperature("temperature", temperature)

    def terms(seen: Seen) -> Terms:
        label = single_classes("dkd", seen.batch)
        s, t = (x[: len(label)] for x in outputs_of(seen, standardised))
        if (k := s.shape[-1]) < 3:
            raise ValueError(f"method.name = 'dkd': {k} classes; it accepts 3 or more, of two `target` alone is kd")
        at = value_at(temperature, seen.players.step)
        return {
            "target": decoupled.target_kl(s, t, label, temperature=at),
            "others": decoupled.other_classes_kl(s, t, label, temperature=at),
        }

    detail = show_standardised(show("T", temperature), standardised)
    details = dict.fromkeys(("target", "others"), detail)
    return Part("dkd", terms, kinds=("class",), details=details, of_labelled=True)


@as_method
def dist(*, temperature: Value = 1.0, standardised: bool = False) -> Part:
    """DIST (Huang et al. 2022): 1 − ρ of softmaxes, ρ over classes and over the batch; terms `ce`, `inter`, `intra`.

    ρ is Pearson's correlation of softmax(s/τ) and softmax(t/τ): for `inter` over the classes of an example, for
    `intra` over the examples of a batch, averaged over classes (a statistic of the batch). λ's are 1 each for
    ImageNet, with τ = 1. Its code multiplies both by τ², its paper and ours do not: 2 at τ = 4 (CIFAR-100) is 2·4² =
    32 here.

    Args:
      temperature: τ, a number or a schedule.
      standardised: whether z-scores of the logits are compared.

    Raises:
      ValueError: while shapes are traced: two classes, or one example.
    """
    check_temperature("temperature", temperature)

    def terms(seen: Seen) -> Terms:
        s, t = outputs_of(seen, standardised)
        if (k := s.shape[-1]) < 3:
            raise ValueError(f"method.name = 'dist': {k} classes; it accepts 3 or more, since two always correlate")
        at = value_at(temperature, seen.players.step)
        return {
            "inter": correlation.inter_class(s, t, temperature=at),
            "intra": correlation.intra_class(s, t, temperature=at),
        }

    detail = show_standardised(show("τ", temperature), standardised)
    return Part("dist", terms, kinds=("class",), details=dict.fromkeys(("inter", "intra"), detail))


@as_method
def mlkd(*, temperatures: Sequence[float] = (2.0, 3.0, 4.0, 5.0, 6.0), standardised: bool = False) -> Part:
    """MLKD (Jin et al. 2023): Σ_T T²·KL, ‖QQᵀ − PPᵀ‖²/b and ‖QᵀQ − PᵀP‖²/k; terms `ce`, `kd`, `batch`, `classes`.

    Q and P [b, k] are softmax(s/T) and softmax(t/T) of a batch. `kd` compares example by example, `batch` all pairs
    of examples, `classes` all pairs of classes; the last two are statistics of the batch, without T². Each is added
    up over five T's.

    λ's: 0.1 of `ce`, 0.9 of each of the others. Its code also compares a strongly augmented view, and multiplies the
    terms by the share of examples of which the teacher is sure, where its paper leaves out the others.

    Args:
      temperatures: T's, over which each term is added up.
      standardised: whether z-scores of the logits are compared.
    """
    several = isinstance(temperatures, Sequence) and not isinstance(temperatures, str)
    number = lambda t: isinstance(t, int | float) and not isinstance(t, bool) and 0 < t < math.inf
    if not several or not temperatures or not all(map(number, temperatures)):
        raise ValueError(f"method.temperatures = {temperatures!r}: one positive number or more is accepted")

    def terms(seen: Seen) -> Terms:
        s, t = outputs_of(seen, standardised)
        total = lambda loss: sum(loss(s, t, temperature=temperature) for temperature in temperatures)
        return {
            "kd": correlation.kl_at_temperatures(s, t, temperatures=tuple(temperatures)),
            "batch": total(correlation.batch_correlation),
            "classes": total(correlation.class_correlation),
        }

    detail = show_standardised("T=" + ", ".join(f"{t:g}" for t in temperatures), standardised)
    return Part("mlkd", terms, kinds=("class",), details=dict.fromkeys(("kd", "batch", "classes"), detail))


@as_method
def ctkd(*, reversal: Value = 1.0, instance: bool = False, standardised: bool = False) -> Part:
    """CTKD (Li et al. 2023): τ²·KL at a learned temperature, which climbs where the student descends; terms `ce`, `kd`.

    τ is the player `temperature`, which moves with the student: the model `temperature`, one for all, between 1 and
    21 as in the published code (20 in its paper); or with `instance` the model `instance_temperature`, one for each
    example, which the published code lacks. The gradient of τ is multiplied by −`reversal`; in published code the
    minus stands in the schedule.

    Published: λ 0.1 of `ce`, 0.9 of `kd`, and `reversal=dict(kind="cosine", start=0.0, end=1.0, steps=...)` over the
    first 10 epochs.

    Args:
      reversal: λ of the reversed gradient, at least 0; a number or a schedule.
      instance: whether each example has a temperature of its own.
      standardised: whether z-scores of the logits are compared.
    """
    if not callable(reversal) and not reversal >= 0:
        raise ValueError(f"method.reversal = {reversal}: a number of at least 0, or a schedule, is accepted")

    def terms(seen: Seen) -> Terms:
        s, t = outputs_of(seen, standardised)
        at = value_at(reversal, seen.players.step)
        if not instance:
            return {"kd": losses.kl_divergence(s, t, temperature=seen.players.temperature(at))}
        each = seen.players.temperature(s, t, at)
        return {"kd": each**2 * losses.kl_divergence(s / each[:, None], t / each[:, None])}

    details = {"kd": show_standardised(show("reversal", reversal), standardised)}
    return Part("ctkd", terms, movers=("temperature",), details=details, **of_kinds(standardised, ("class",)))
