"""`check` tells what is wrong with an evaluator; the built-in ones pass it."""

import jax.numpy as jnp
import numpy as np
import pytest

from kdgan import evaluators
from kdgan.evaluators import Evaluator, Measure, check

SHARE = Measure("share")


def made(sums, summarise=lambda sums: {"share": sums["right"] / sums["count"]}, measure=SHARE):
    return Evaluator(measure, sums=sums, summarise=summarise)


def right(apply, variables, batch, key, others):
    hits = apply(variables, batch).argmax(-1) == batch["label"]
    return {"right": jnp.sum(hits & batch["mask"]), "count": jnp.sum(batch["mask"])}


def without_mask(apply, variables, batch, key, others):
    hits = apply(variables, batch).argmax(-1) == batch["label"]
    return {"right": jnp.sum(hits), "count": jnp.sum(batch["mask"])}


def mean(apply, variables, batch, key, others):
    value = jnp.where(batch["mask"], apply(variables, batch).max(-1), 0.0)
    return {"right": jnp.mean(value), "count": jnp.sum(batch["mask"])}


def on_the_host(apply, variables, batch, key, others):
    return {"right": np.asarray(apply(variables, batch)).sum(), "count": 1}


def test_a_sound_one_passes():
    check(made(right))
    check(evaluators.build("classifier"))
    logits = np.random.default_rng(0).normal(size=(6, 10)).astype(np.float32)
    check(evaluators.build("classifier"), others={"teacher": logits})
    check(evaluators.build("generator"))  # no sums: nothing to try


@pytest.mark.parametrize(
    ("evaluator", "message"),
    [
        (made(without_mask), r"sums\['right'\]: is no sum over examples; those of two halves"),
        (made(mean), r"sums\['right'\]: is no sum over examples; those of two equal batches must be twice"),
        (made(on_the_host), "sums cannot be compiled: TracerArrayConversionError"),
        (made(right, lambda sums: {"part": 1.0}), "summarise gave 'part', which is none of the measures share"),
        (made(right, lambda sums: {}), "summarise left out 'share', by which arms are compared"),
        (made(right, lambda sums: {"share": np.zeros(3)}), r"'share' of shape \(3,\); one number is accepted"),
        (made(right, lambda sums: 1.0), "summarise gave a float; a mapping"),
        (right, "is a function; kdgan.evaluators.Evaluator is accepted"),
    ],
)  # fmt: skip
def test_each_fault_is_one_line(evaluator, message):
    with pytest.raises(ValueError, match=message) as error:
        check(evaluator)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Evaluator(sums=right, summarise=dict), "takes one or more Measures"),
        (lambda: Evaluator(SHARE, SHARE, sums=right, summarise=dict), "the measure 'share' stands twice"),
        (lambda: Evaluator(SHARE, sums=right), "sums and summarise are given together"),
        (lambda: Evaluator(SHARE), "nothing measures"),
        (lambda: Evaluator(Measure("a", elements="label"), sums=right, summarise=dict), "'a', must be one number"),
    ],
)  # fmt: skip
def test_an_evaluator_says_at_once_what_it_lacks(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_digits_of_a_measure():
    assert Measure("a", digits=2).record["digits"] == [2, 1, 3, 2]
    assert Measure("a", digits=0).record["digits"] == [0, 0, 1, 2]
    assert Measure("a", digits=(3, 2, 3, 1)).record["digits"] == [3, 2, 3, 1]
    assert Measure("a", digits=(3, 2, 3)).record["digits"] == [3, 2, 3, 2]
