"""A classifier under attack: its accuracy on the worst image that FGSM or PGD finds in a ball around each.

The attack knows the network (white box) and attacks each player by its own gradient, in pixels, however it is normalised. An
example counts as right if the player is right on the image itself and on every image that was tried: what is measured is an
upper bound of the accuracy on the worst image of the ball, and it says little of a network whose gradients vanish or are
rounded away (Athalye et al. 2018): try `objective="margin"` and more steps.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

from kdgan import attacks, whole_number
from kdgan.evaluators.classifier import SHARE, fits_classes
from kdgan.evaluators.evaluator import Evaluator, Measure
from kdgan.losses.logits import cross_entropy

CLEAN, FGSM, PGD = "clean", "fgsm", "pgd"
# Name -> (logits [b, k], labels [b]) -> [b], what the attack makes large.
OBJECTIVES: Mapping[str, Callable[[Any, Any], Any]] = {"cross_entropy": cross_entropy, "margin": attacks.margin}


def robust(
    *, epsilon: float = 8 / 255, steps: int = 20, step_size: float | None = None, restarts: int = 1,
    objective: str = "cross_entropy", measures: str | Sequence[str] = (PGD, CLEAN, FGSM),
) -> Evaluator:  # fmt: skip
    """Accuracy under PGD (Madry et al. 2018), on clean images, and under FGSM (Goodfellow et al. 2015), within l-infinity.

    The starts of PGD are fixed random points of the ball, the same for every image, so that the numbers depend on no seed
    and no batch. Where a player is given several fields of images, each is moved within a ball of its own.

    Args:
      epsilon: ε, the ball's radius, in pixels of [0, 1].
      steps: of PGD.
      step_size: of PGD, in pixels; None: 2.5·ε/steps.
      restarts: starts of PGD; the worst counts.
      objective: "cross_entropy", or "margin" (the largest logit of another class less that of the label), whose gradient
        does not vanish for a player that is certain.
      measures: of "pgd", "clean" and "fgsm" those that are taken, in order: arms are compared, and the best by validation
        is kept, by the first. Beside `classifier`, whose accuracy is the clean one, ("pgd",) is enough.

    Raises:
      ValueError: ε below 0, no step or start, an objective or a measure that there is not, or one that stands twice.
    """
    attacks.check(epsilon, steps, step_size)
    whole_number.check("restarts", restarts)
    if objective not in OBJECTIVES:
        raise ValueError(f"objective = {objective!r}: accepted are {', '.join(OBJECTIVES)}")
    ball = f"within {epsilon:.3g} of each pixel in [0, 1]"
    known = {
        PGD: Measure(
            "pgd_accuracy", f"PGD-{steps} accuracy", note=f"PGD-{steps}: right on the image and on what"
            f" {_counted(restarts, 'start')} of {steps} steps find {ball}", **SHARE,
        ),
        CLEAN: Measure("clean_accuracy", "clean accuracy", traded=True, **SHARE),
        FGSM: Measure("fgsm_accuracy", "FGSM accuracy", note=f"FGSM: the same of one step of {epsilon:.3g}", **SHARE),
    }  # fmt: skip
    wanted = (measures,) if isinstance(measures, str) else tuple(measures)
    if not wanted or len(set(wanted)) < len(wanted) or not set(wanted) <= set(known):
        raise ValueError(f"measures = {wanted}: one or more of {', '.join(known)} are accepted, each once")
    loss = OBJECTIVES[objective]

    def sums(apply, variables, batch, key, others):
        label, pixels = batch["label"], batch.get("pixels", attacks.UNIT)
        outputs = lambda images: apply(variables, {**batch, **images})
        images = _seen(outputs, {name: value for name, value in batch.items() if _is_image(value)})
        large = lambda moved: loss(outputs(moved), label)
        is_right = lambda moved: jnp.argmax(outputs(moved), axis=-1) == label
        right = {CLEAN: jnp.argmax(apply(variables, batch), axis=-1) == label}
        if FGSM in wanted:
            moved = attacks.fgsm(large, images, epsilon=epsilon, pixels=pixels)
            right[FGSM] = right[CLEAN] & is_right(moved)
        if PGD in wanted:
            right[PGD] = right[CLEAN]
            for restart in range(restarts):
                start = _start(images, restart)
                moved = attacks.pgd(
                    large, images, epsilon=epsilon, steps=steps, step_size=step_size, start=start, pixels=pixels,
                    unroll=jax.default_backend() == "cpu",
                )  # fmt: skip
                right[PGD] &= is_right(moved)
        keep = batch["mask"] != 0
        counted = {name: jnp.sum(keep & right[name], dtype=jnp.int32) for name in wanted}
        return {"count": jnp.sum(keep, dtype=jnp.int32), **counted}

    def summarise(sums):
        return {known[name].name: sums[name] / sums["count"] for name in wanted}

    chosen = [known[name] for name in wanted]
    return Evaluator(*chosen, sums=sums, summarise=summarise, fits=_fits, gives="probabilities", differentiates=True)


def _fits(output: Any, fields: Mapping[str, Any]) -> str | None:
    if not any(field.kind == "image" for field in fields.values()):
        return f"its images are attacked, and the data have none: their fields are {', '.join(fields)}"
    return fits_classes(output, fields)


def _is_image(value: Any) -> bool:
    return getattr(value, "ndim", 0) == 4 and jnp.issubdtype(value.dtype, jnp.floating)


def _seen(outputs: Callable[[Any], Any], images: Mapping[str, Any]) -> dict[str, Any]:
    """The images that outputs depend on, as far as the traced program tells.

    Raises:
      ValueError: there are none: an attack would go nowhere, and look like robustness.
    """
    program = jax.make_jaxpr(lambda values: outputs(dict(zip(images, values, strict=True))))(
        list(images.values())
    ).jaxpr
    reached = {variable: {name} for variable, name in zip(program.invars, images, strict=True)}
    of = lambda atoms: set().union(*(reached.get(atom, ()) for atom in atoms if not isinstance(atom, core.Literal)))
    for equation in program.eqns:
        reached.update(dict.fromkeys(equation.outvars, of(equation.invars)))
    seen = of(program.outvars)
    if not seen:
        raise ValueError("its output depends on no image of the batch, and images are what an attack moves")
    return {name: jnp.asarray(value) for name, value in images.items() if name in seen}


def _start(images: Mapping[str, Any], restart: int) -> dict[str, Any]:
    """The same random point of the ball for every image, in [−1, 1] of its radius."""
    key = jax.random.key(restart)
    draw = lambda image: jax.random.uniform(key, (1, *image.shape[1:]), image.dtype, -1, 1)
    return {name: jnp.broadcast_to(draw(image), image.shape) for name, image in images.items()}


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" + ("s" if count > 1 else "")
