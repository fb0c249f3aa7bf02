"""Students that hold against small changes of their images: adversarial training, TRADES, and distillation of robustness.

In every step the images are moved within an l-infinity ball, by projected gradient descent against the student as it is
(`kdgan/attacks.py`), and the student is then moved against what was found. The teacher is asked about clean images only,
so that its outputs may be cached, and it may be any function. What moves is the data's main image, which the student must be
given.

The attack sees the student in evaluation mode, as TRADES' and RSLAD's code has it (ARD's attacks in training mode): that is
the network that will be attacked when it is used, the perturbation of one image depends on no other, and batch norm's
statistics are not touched by what is only tried. The student learns in training mode, from the clean images first and then
from the perturbed ones; its statistics take in both. No gradient goes through the attack.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm

from kdgan import attacks
from kdgan.attacks import UNIT, Pixels
from kdgan.game import Batch, Method, Move, Players
from kdgan.methods.gan import noise_of
from kdgan.methods.logits import Value, check_temperature, show, value_at
from kdgan.methods.taught import check_kind, on_label, soft

KINDS = ("class", "tags", "number")
EPSILON, STEPS = 8 / 255, 10  # as published for photographs of 32×32 pixels, with steps of 2/255
OF_LABEL, OF_TEACHER = "label", "teacher"  # whose distance to the outputs an attack makes large

Outputs = Callable[[Any], Any]  # images -> the student's outputs


def robust_ce(
    *, epsilon: Value = EPSILON, steps: int = STEPS, step_size: float | None = None, random_start: bool = True,
    clean: bool = False, player: str = "student", label_kind: str = "class", normalisation: Pixels | None = None,
) -> Method:  # fmt: skip
    """Adversarial training (Madry et al. 2018): max over ‖δ‖∞ ≤ ε of CE(y, player(x + δ)); term `robust_ce`.

    Args:
      epsilon: ε in pixels of [0, 1], a number or a schedule of the step.
      steps: of the attack; 1 with `step_size` ε is training by FGSM, without a random start that of Goodfellow et al. 2015.
      step_size: in pixels; None: 2.5·ε/steps.
      random_start: whether the attack begins at a random point of the ball, drawn for each image; else at the image.
      clean: whether the loss on clean images is a term, too, `ce`, as Goodfellow et al. have it with a half of each.
      player: who is trained; it leads.
      label_kind: kind of the label; the data's where a run is asked for.
      normalisation: {"mean", "std"} of images; the data's where a run is asked for.
    """
    check_kind("robust_ce", label_kind, KINDS)
    attack, detail = _attack(epsilon, steps, step_size, random_start, normalisation)

    def terms(players, batch, key):
        own = {"ce": on_label(label_kind, players[player](batch["image"]), batch)} if clean else {}
        moved = attack(players, player, batch, key, lambda outputs: on_label(label_kind, outputs, batch))
        return {**own, "robust_ce": on_label(label_kind, players[player](moved), batch)}

    return Method(Move(player, terms, details={"robust_ce": detail}))


def trades(
    *, epsilon: Value = EPSILON, steps: int = STEPS, step_size: float | None = None, player: str = "student",
    label_kind: str = "class", normalisation: Pixels | None = None,
) -> Method:  # fmt: skip
    """TRADES (Zhang et al. 2019, eq. 5): CE(y, s(x)) + β·max over ‖δ‖∞ ≤ ε of KL(s(x) ‖ s(x + δ)); terms `ce`, `robust_kl`.

    β is the λ of `robust_kl`: 1 and 6 in the paper. Gradients go through both sides of the divergence, as in its code. The
    attack begins at a random point of the ball, for at the image itself the divergence is 0 and has no gradient; the paper's
    code begins at normal noise of 0.001.

    Args:
      epsilon: ε in pixels of [0, 1], a number or a schedule of the step.
      steps: of the attack.
      step_size: in pixels; None: 2.5·ε/steps.
      player: who is trained; it leads.
      label_kind: kind of the label; the data's where a run is asked for.
      normalisation: {"mean", "std"} of images; the data's where a run is asked for.
    """
    check_kind("trades", label_kind, KINDS)
    attack, detail = _attack(epsilon, steps, step_size, True, normalisation)

    def terms(players, batch, key):
        clean = players[player](batch["image"])
        seen = _still(players[player])(batch["image"])
        moved = attack(players, player, batch, key, lambda outputs: soft(label_kind, outputs, seen, temperature=1.0))
        robust = soft(label_kind, players[player](moved), clean, temperature=1.0)
        return {"ce": on_label(label_kind, clean, batch), "robust_kl": robust}

    return Method(Move(player, terms, details={"robust_kl": detail}))


def ard(
    *, epsilon: Value = EPSILON, steps: int = STEPS, step_size: float | None = None, random_start: bool = True,
    objective: str = OF_LABEL, temperature: Value = 30.0, label_kind: str = "class", normalisation: Pixels | None = None,
) -> Method:  # fmt: skip
    """ARD (Goldblum et al. 2020): (1 − α)·CE(y, s(x)) + α·T²·KL(t(x) ‖ s(x + δ)), logits over T; terms `ce`, `robust_kd`.

    δ makes the student's loss on the label large (`objective="label"`, as the code has it), or its distance to the teacher
    at temperature 1 ("teacher"). The paper's λ's are α of `robust_kd` and 1 − α of `ce`; its code has α = 1 and T = 30 by
    default, and averages the divergence over classes, too: 1/K of this one.

    Args:
      epsilon: ε in pixels of [0, 1], a number or a schedule of the step.
      steps: of the attack.
      step_size: in pixels; None: 2.5·ε/steps.
      random_start: whether the attack begins at a random point of the ball, drawn for each image; else at the image.
      objective: "label" or "teacher".
      temperature: T of `robust_kd`, a number or a schedule of the step.
      label_kind: kind of the label; the data's where a run is asked for.
      normalisation: {"mean", "std"} of images; the data's where a run is asked for.
    """
    check_kind("ard", label_kind, KINDS)
    check_temperature("temperature", temperature)
    if objective not in (OF_LABEL, OF_TEACHER):
        raise ValueError(f"method.objective = {objective!r}: accepted are {OF_LABEL}, {OF_TEACHER}")
    attack, detail = _attack(epsilon, steps, step_size, random_start, normalisation)

    def student(players, batch, key):
        clean, taught = players.student(batch["image"]), players.teacher(batch["image"])
        large = {
            OF_LABEL: lambda outputs: on_label(label_kind, outputs, batch),
            OF_TEACHER: lambda outputs: soft(label_kind, outputs, taught, temperature=1.0),
        }
        moved = attack(players, "student", batch, key, large[objective])
        at = value_at(temperature, players.step)
        robust = soft(label_kind, players.student(moved), taught, temperature=at)
        return {"ce": on_label(label_kind, clean, batch), "robust_kd": robust}

    return Method(Move("student", student, details={"robust_kd": f"{show('T', temperature)}, {detail}"}))


def rslad(
    *, epsilon: Value = EPSILON, steps: int = STEPS, step_size: float | None = None, random_start: bool = True,
    label_kind: str = "class", normalisation: Pixels | None = None,
) -> Method:  # fmt: skip
    """RSLAD (Zi et al. 2021): KL(t(x) ‖ s(x)) and KL(t(x) ‖ s(x + δ)), δ making the latter large; terms `kd`, `robust_kd`.

    Robust soft labels everywhere, and no other: labels are not used. The paper's λ's are 1/6 of `kd` and 5/6 of `robust_kd`,
    its temperature 1. Its code averages over classes, too (1/K of these), and begins at normal noise of 0.001.

    Args:
      epsilon: ε in pixels of [0, 1], a number or a schedule of the step.
      steps: of the attack.
      step_size: in pixels; None: 2.5·ε/steps.
      random_start: whether the attack begins at a random point of the ball, drawn for each image; else at the image.
      label_kind: kind of the label; the data's where a run is asked for.
      normalisation: {"mean", "std"} of images; the data's where a run is asked for.
    """
    check_kind("rslad", label_kind, KINDS)
    attack, detail = _attack(epsilon, steps, step_size, random_start, normalisation)

    def student(players, batch, key):
        clean, taught = players.student(batch["image"]), players.teacher(batch["image"])
        apart = lambda outputs: soft(label_kind, outputs, taught, temperature=1.0)
        moved = attack(players, "student", batch, key, apart)
        return {"kd": apart(clean), "robust_kd": apart(players.student(moved))}

    return Method(Move("student", student, details={"robust_kd": detail}))


def _attack(epsilon: Value, steps: int, step_size: float | None, random_start: bool, normalisation: Pixels | None):
    """(`attack(players, player, batch, key, objective of outputs) -> images`, what an explanation says of it)."""
    try:
        attacks.check(epsilon, steps, step_size)
    except ValueError as error:
        raise ValueError(f"method.{error}") from error

    def attack(players: Players, player: str, batch: Batch, key: Any, objective: Callable[[Any], Any]) -> Any:
        image, outputs = batch["image"], _still(players[player])
        _check_image(image)
        start = _start(batch, key) if random_start else None
        return attacks.pgd(
            lambda moved: objective(outputs(moved)), image, epsilon=value_at(epsilon, players.step), steps=steps,
            step_size=step_size, start=start, pixels=normalisation or UNIT,
        )  # fmt: skip

    return attack, f"PGD-{steps}, {show('ε', epsilon)}"


def _still(player: Any) -> Outputs:
    """A player in evaluation mode, recording nothing, whose parameters no gradient reaches."""
    return functools.partial(player.at(jax.lax.stop_gradient(player.params)), train=False)


def _start(batch: Batch, key: Any) -> Any:
    """A uniform point of the ball for each image, in [−1, 1] of its radius, of normal noise [b, h·w·c]."""
    shape = batch["image"].shape
    noise = noise_of(batch, key, math.prod(shape[1:]), "h·w·c of the images")
    return (2 * norm.cdf(noise) - 1).reshape(shape)


def _check_image(image: Any) -> None:
    if image.ndim != 4 or not jnp.issubdtype(image.dtype, jnp.floating):
        raise ValueError(
            f"an attack moves images [b, h, w, c] by pixels of [0, 1]; the data's main input is {image.dtype}"
            f" {list(image.shape)}"
        )
