"""`check(mine)`: what is wrong with an evaluator of one's own, before a run needs it."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdgan.evaluators.evaluator import Evaluator

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def check(
    evaluator: Any,
    *,
    output: Any = None,
    batch: Mapping[str, Any] | None = None,
    others: Mapping[str, Any] | None = None,
) -> None:
    """Try an evaluator on a small batch.

    Args:
      evaluator: as its factory returns it.
      output: of the player on the batch, [b, ...] arrays; random numbers [b, 10] by default.
      batch: fields of the data, [b, ...] arrays; by default a label of ten classes and an image [8, 8, 1], b = 6.
      others: name -> output of another player on the batch.

    Raises:
      ValueError: what is wrong, in one line: it is no evaluator; `sums` cannot be compiled, is no sum (the sums of two
        halves do not add up to those of the whole), counts what the mask leaves out; `summarise` gives measures that are
        not named, lacks the first one, or gives what is no number.
    """
    if not isinstance(evaluator, Evaluator):
        raise ValueError(f"{evaluator!r} is a {type(evaluator).__name__}; kdgan.evaluators.Evaluator is accepted")
    if evaluator.sums is None or evaluator.summarise is None:
        return
    batch, output = _given(batch, output)
    size = len(jax.tree.leaves(output)[0])
    whole = _sums(evaluator, batch, output, others, np.ones(size, bool))
    rows = np.arange(size) < size // 2
    halves = [_sums(evaluator, batch, output, others, part) for part in (rows, ~rows)]
    no_sum = "is no sum over examples; those of two {} must be {}; sum, and divide in summarise"
    _compare(no_sum.format("halves", "that of the whole"), jax.tree.map(np.add, *halves), whole)
    twice = jax.tree.map(lambda leaf: np.concatenate([leaf, leaf]), (batch, output, dict(others or {})))
    doubled = _sums(evaluator, twice[0], twice[1], twice[2], np.ones(2 * size, bool))
    _compare(no_sum.format("equal batches", "twice that of one"), doubled, jax.tree.map(lambda leaf: 2 * leaf, whole))
    spoilt = jax.tree.map(lambda leaf: _spoilt(leaf, rows), output)
    kept, spoilt = (_sums(evaluator, batch, out, others, rows) for out in (output, spoilt))
    _compare(
        "examples whose batch['mask'] is False change the sums; take jnp.where(batch['mask'], value, 0)", spoilt, kept
    )
    check_measures(evaluator, evaluator.summarise(whole))


def _given(batch: Mapping[str, Any] | None, output: Any) -> tuple[dict[str, Any], Any]:
    rng = np.random.default_rng(0)
    if batch is None:
        size = 6 if output is None else len(jax.tree.leaves(output)[0])
        batch = {"image": rng.random((size, 8, 8, 1), np.float32), "label": np.arange(size, dtype=np.int32) % 10}
    size = len(jax.tree.leaves(batch)[0])
    logits = rng.normal(size=(size, 10)).astype(np.float32)
    logits[::2] += 9 * np.eye(10, dtype=np.float32)[np.arange(0, size, 2) % 10]  # half of the default labels are met
    return dict(batch), logits if output is None else output


def _sums(
    evaluator: Evaluator, batch: Mapping[str, Any], output: Any, others: Mapping[str, Any] | None, mask: np.ndarray
):
    assert evaluator.sums is not None
    sums = evaluator.sums

    def total(batch, output, others):
        given = {name: lambda batch, value=value: value for name, value in others.items()}
        return sums(lambda variables, batch, **kwargs: _of_batch(evaluator, batch, output), {"params": {}}, batch,
                    jax.random.key(0), given)  # fmt: skip

    try:
        return jax.device_get(jax.jit(total)({**batch, "mask": mask}, output, dict(others or {})))
    except KeyError as error:
        fields = ", ".join(batch)
        raise ValueError(
            f"sums asks for {error}, and the batch has {fields}: give check(..., output=..., batch={{...}}) what it needs"
        ) from error
    except Exception as error:
        raise ValueError(f"sums cannot be compiled: {type(error).__name__}: {str(error).splitlines()[0]}") from error


def _of_batch(evaluator: Evaluator, batch: Mapping[str, Any], output: Any) -> Any:
    """The output, for an evaluator that differentiates as a function of the batch that does not change with it."""
    if not evaluator.differentiates:
        return output
    still = sum(0 * jnp.sum(value) for value in batch.values() if jnp.issubdtype(jnp.result_type(value), jnp.floating))
    return jax.tree.map(lambda leaf: leaf + still, output)


def _spoilt(leaf: Any, rows: np.ndarray) -> np.ndarray:
    leaf = np.array(leaf)
    return np.where(rows.reshape(-1, *[1] * (leaf.ndim - 1)), leaf, leaf * 3 + 1)


def _compare(problem: str, found: Any, expected: Any) -> None:
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True):
        if not np.allclose(np.asarray(a, np.float64), np.asarray(b, np.float64), equal_nan=True, **CLOSE):
            raise ValueError(f"sums{jax.tree_util.keystr(path)}: {problem}")


def check_measures(evaluator: Evaluator, result: Any) -> None:
    """Raises ValueError where what `summarise` gave is no number for each of its measures."""
    names = [measure.name for measure in evaluator.measures]
    if not isinstance(result, Mapping):
        raise ValueError(f"summarise gave a {type(result).__name__}; a mapping of measures to numbers is accepted")
    if unknown := [name for name in result if name not in names]:
        raise ValueError(f"summarise gave {unknown[0]!r}, which is none of the measures {', '.join(names)}")
    if names[0] not in result and evaluator.measure is None:
        raise ValueError(
            f"summarise left out {names[0]!r}, by which arms are compared; it gave {', '.join(result) or 'nothing'}"
        )
    for measure in evaluator.measures:
        shape = jnp.shape(result.get(measure.name, 0.0))
        if len(shape) != (1 if measure.elements else 0):
            wanted = f"one for each of {measure.elements}, [k]" if measure.elements else "one number"
            raise ValueError(f"summarise gave {measure.name!r} of shape {shape}; {wanted} is accepted")
