"""What noise on its answers costs a classifier: its accuracy as a black box that defends itself against being copied."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from kdgan import black_box
from kdgan.attacks import UNIT
from kdgan.evaluators.classifier import SHARE, fits_classes
from kdgan.evaluators.evaluator import Evaluator, Measure
from kdgan.player import MAIN


def answers(*, noise: float | Sequence[float] = 1.0, seed: int = 0) -> Evaluator:
    """The accuracy of the answers of `kdgan.black_box.answer`, with noise of one σ or several on the logits.

    Args:
      noise: σ, as the method `copy` has it, or several.
      seed: of the noise, likewise.

    Raises:
      ValueError: no noise, one below 0, or one that stands twice.
    """
    several = (noise,) if isinstance(noise, int | float) else tuple(noise)
    if not several or len(set(several)) < len(several):
        raise ValueError(f"noise = {noise!r}: one number or more, each once, are accepted")
    for sigma in several:
        black_box.check("labels", sigma)
    names = {sigma: f"answered_accuracy_{sigma:g}" for sigma in several}
    note = "Accuracy with noise: of answers to whose logits so much Gaussian noise was added, fixed for each image"

    def sums(apply, variables, batch, key, others):
        logits, keep = apply(variables, batch), batch["mask"] != 0
        told = lambda sigma: black_box.answer(
            logits, batch[MAIN], answers="labels", noise=sigma, seed=seed, pixels=batch.get("pixels", UNIT)
        )
        right = {name: jnp.argmax(told(sigma), axis=-1) == batch["label"] for sigma, name in names.items()}
        counted = {name: jnp.sum(keep & hits, dtype=jnp.int32) for name, hits in right.items()}
        return {"count": jnp.sum(keep, dtype=jnp.int32), **counted}

    def summarise(sums):
        return {name: sums[name] / sums["count"] for name in names.values()}

    measures = [Measure(name, f"accuracy with noise {sigma:g}", note=note, **SHARE) for sigma, name in names.items()]
    return Evaluator(*measures, sums=sums, summarise=summarise, fits=_fits, gives="probabilities")


def _fits(output: Any, fields: Mapping[str, Any]) -> str | None:
    if MAIN not in fields:
        return f"noise is drawn for each image, and the data have no field {MAIN!r}, but {', '.join(fields)}"
    return fits_classes(output, fields)
