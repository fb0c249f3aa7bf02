"""A language model: judged by how well it predicts the tokens to come, the field `target`: perplexity, accuracy, bits."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from kdgan.evaluators.evaluator import Evaluator, Measure
from kdgan.metrics import language as metrics

TARGET, MASK = "target", "target_mask"


def language() -> Evaluator:
    """Perplexity of the next token, the share of next tokens that are predicted, and bits per token.

    Where a token is a character, the last is bits per character.
    """
    measures = (
        Measure(
            "perplexity",
            higher_is_better=False,
            digits=(2, 1, 3),
            bounds=(1.0, None),
            note="Perplexity: e to the mean negative log-likelihood of a token of the test split",
        ),
        Measure("token_accuracy", "next token", unit="%", scale=100.0, digits=(2, 1, 2), bounds=(0.0, 1.0)),
        Measure("bits", "bits/token", higher_is_better=False, bounds=(0.0, None)),
    )

    def sums(apply, variables, batch, key, others):
        target = batch[TARGET]
        mask = batch.get(MASK, jnp.ones(target.shape, bool)) & (batch["mask"] != 0)[:, None]
        return metrics.sums(apply(variables, batch), target, mask)

    def summarise(sums):
        result = metrics.summarise(sums)
        given = {"perplexity": "perplexity", "token_accuracy": "accuracy", "bits": "bits"}
        return {name: float(result[key]) for name, key in given.items()}

    return Evaluator(*measures, sums=sums, summarise=summarise, fits=_fits, gives="probabilities")


def _fits(output: Any, fields: Mapping[str, Any]) -> str | None:
    target = fields.get(TARGET)
    if target is None or target.kind != "tokens":
        have = f"have no field {TARGET!r}" if target is None else f"have a {TARGET!r} of kind {target.kind!r}"
        return f"a language model is measured by the tokens to come, and the data {have}"
    shape = tuple(output.shape) if hasattr(output, "shape") else None
    if shape is None or len(shape) != 3 or shape[1:2] != target.shape or shape[2] < target.size:
        return (
            f"its output is {shape if shape is not None else ', '.join(output)}, the target has {target.shape[0]} tokens of"
            f" {target.size} each; logits (examples, {target.shape[0]}, {target.size}) are wanted"
        )
    return None
