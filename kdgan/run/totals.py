"""An evaluator's sums of one batch, compiled: the player runs once, whatever asks for its output.

The forward pass and the sums are programs of their own, so that a player's output is bitwise the same whoever judges it,
and a teacher's is made once for all students that are compared with it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from kdgan.data import degrade
from kdgan.data.batches import normalise
from kdgan.data.fields import IMAGE
from kdgan.evaluators import Evaluator
from kdgan.game import Player
from kdgan.player import MAIN, PlayerInputs
from kdgan.run import on_host
from kdgan.run.schema import Data


def as_players_see(data: Data, raw: Mapping[str, Any]) -> dict[str, Any]:
    """An evaluation batch with its images, which alone are uint8, normalised; with the noise that `drawn` for it."""
    values = {name: value for name, value in raw.items() if name != "drawn"}
    see = lambda value: normalise(value, mean=data.mean, std=data.std) if value.dtype == np.uint8 else value
    seen = {name: see(value) for name, value in values.items()}
    if "drawn" in raw:
        noisy = degrade.of(data.degrade).noisy(raw["drawn"]["words"][:, 0], raw[IMAGE])
        seen[IMAGE] = normalise(noisy, mean=data.mean, std=data.std)
    return seen


def rounded(data: Data, raw: Mapping[str, Any]) -> dict[str, Any]:
    """An evaluation batch without `drawn`, whose noisy images are uint8, as a file takes them: the nearest levels."""
    values = {name: value for name, value in raw.items() if name != "drawn"}
    if "drawn" in raw:
        noisy = np.asarray(degrade.of(data.degrade).noisy(raw["drawn"]["words"][:, 0], raw[IMAGE]))
        values[IMAGE] = np.round(255 * np.clip(noisy, 0, 1)).astype(np.uint8)
    return values


def make_forward(
    module: nn.Module, data: Data, compute_dtype: Any, inputs: Sequence[str] = (MAIN,)
) -> Callable[[Any, Any], Any]:
    """`forward(variables, raw batch) -> output` in evaluation mode, of these fields; compiled where it can be."""
    apply = make_apply(module, compute_dtype, inputs)
    return on_host.compiled(module, lambda variables, raw: apply(variables, as_players_see(data, raw)))


def make_apply(module: nn.Module, compute_dtype: Any, inputs: Sequence[str] = (MAIN,)) -> Callable[..., Any]:
    """`apply(variables, batch, **kwargs) -> output` in evaluation mode, of these fields of the batch.

    In place of a batch it takes the module's first argument.
    """

    def apply(variables, given, **kwargs):
        batch = PlayerInputs(given, {"judged": inputs}) if isinstance(given, Mapping) else None
        player = Player(
            "judged", module, variables["params"], variables.get("model_state", {}), key=None, train=False, moves=False,
            compute_dtype=compute_dtype, inputs=batch,
        )  # fmt: skip
        return player(given if batch is None else batch.batch[MAIN], **kwargs)

    return apply


def make_totals(
    module: nn.Module, evaluators: Sequence[Evaluator], data: Data, compute_dtype: Any,
    inputs: Sequence[str] = (MAIN,), *, keep: bool,
) -> Callable[..., tuple[dict[str, Any], dict[str, Any]]]:  # fmt: skip
    """`totals(variables, raw, key, output, others) -> ({evaluator: sums}, {name: kept})` of one batch, pure.

    Args:
      module: of the player that is judged.
      evaluators: those of its evaluators that sum.
      data: by which images are normalised.
      compute_dtype: in which the player computes.
      inputs: fields that the player is given.
      keep: also give what evaluators keep of each example.

    Returns:
      The function. `output` is what the player gives on the batch, and `others` (name -> output) what others give: neither
      runs again. On a batch of its own making an evaluator's `apply` runs the module.
    """
    run_module = make_apply(module, compute_dtype, inputs)

    def totals(variables, raw, key, output, others):
        batch = {**as_players_see(data, raw), "pixels": {"mean": data.mean, "std": data.std}}

        def apply(own, given, **kwargs):
            if own is variables and given is batch and not kwargs:
                return output
            return run_module(own, given, **kwargs)

        sums: dict[str, Any] = {}
        kept: dict[str, Any] = {}
        for i, evaluator in enumerate(evaluators):
            wanted = {name: _known(name, batch, others[name]) for name in evaluator.others if name in others}
            own_key = jax.random.fold_in(key, i)
            assert evaluator.sums is not None
            sums[evaluator.name] = evaluator.sums(apply, variables, batch, own_key, wanted)
            if keep and evaluator.keeps is not None:
                kept |= evaluator.keeps(apply, variables, batch, own_key)
        return sums, kept

    return totals


def _known(name: str, batch: Any, output: Any) -> Callable[[Any], Any]:
    def look_up(given):
        if given is not batch:
            raise ValueError(f"others[{name!r}] knows its output on the batch itself, and on no other")
        return output

    return look_up
