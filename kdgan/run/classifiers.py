"""Classifiers measured on a run's splits: exact, each example once. One program per module serves all who share it."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from kdgan import parallel
from kdgan.metrics import classification, fidelity
from kdgan.run.inputs import Inputs
from kdgan.run.prediction import make_forward
from kdgan.run.program import Variables
from kdgan.run.schema import Run
from kdgan.run.splits import Splits


class Classifiers:
    """Compiled forward passes of classifiers, and their metrics."""

    def __init__(self, run: Run, inputs: Inputs, splits: Splits):
        self._run, self._data, self._splits = run, inputs.config, splits
        self._forward: dict[nn.Module, Any] = {}
        self._sums = parallel.compiled(classification.sums)
        self._agreement = parallel.compiled(fidelity.sums)

    def logits(self, module: nn.Module, variables: Variables, split: str) -> list[jax.Array]:
        """Logits of a player with these variables, one array [b, k] per evaluation batch."""
        if module not in self._forward:
            self._forward[module] = make_forward(self._run, self._data, module)
        return [self._forward[module](variables, batch["image"]) for batch in self._splits.batches(split)]

    def measure(
        self, logits: Sequence[jax.Array], split: str, reference: Sequence[jax.Array] | None = None
    ) -> dict[str, float]:
        """accuracy, nll, ece, and agreement with `reference` where there is one."""
        sums: list[dict[str, Any]] = []
        for i, batch in enumerate(self._splits.batches(split)):
            sums.append({"own": self._sums(logits[i], batch["label"], batch["mask"])})
            if reference is not None:
                sums[i]["agreement"] = self._agreement(logits[i], reference[i], batch["mask"])
        # Fetched when all is dispatched: the device computes while the host makes the next batch.
        totals = functools.reduce(lambda some, more: jax.tree.map(np.add, some, more), jax.device_get(sums))
        found = classification.summarise(totals["own"])
        measured = {name: float(found[name]) for name in ("accuracy", "nll", "ece")}
        if reference is not None:
            measured["agreement"] = float(fidelity.summarise(totals["agreement"])["agreement"])
        return measured

    def predictions(self, logits: Sequence[jax.Array], split: str) -> np.ndarray:
        """Predicted class of each example [n]."""
        return np.concatenate([np.argmax(np.asarray(part), -1) for part in logits])[: self._splits.size(split)]
