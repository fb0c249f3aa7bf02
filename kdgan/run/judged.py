"""Exported files judged as their player is: run on the test split by their own runtimes, and measured by its evaluators.

A file gives probabilities, and an evaluator reads logits: it is given their logarithms, of which it takes the same measures.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdgan.evaluators import Evaluator
from kdgan.export import exportable as exportables
from kdgan.export.exportable import Exportable
from kdgan.export.outputs import OUTPUTS
from kdgan.losses.latents import project
from kdgan.run.config import ConfigError
from kdgan.run.evaluate import KEYS
from kdgan.run.schema import Data
from kdgan.run.totals import as_players_see

BATCHES = (1, 64)  # examples of a call that is timed
LONGEST = 1.0  # seconds that the calls of one size are timed
REPEATS, WARM_UPS, FEWEST = 30, 3, 5

Call = Callable[..., np.ndarray]  # arrays in the order of the player's inputs -> its output, as a file gives it


@dataclasses.dataclass(frozen=True, eq=False)
class Judgement:
    """What was measured of one file, or of a player in JAX.

    Attributes:
      measures: measure -> number.
      made: its output of each batch, as a file gives it, of the examples that count [n, ...].
      milliseconds: examples of a call -> time of the call.
    """

    measures: dict[str, float]
    made: list[np.ndarray]
    milliseconds: dict[int, float]


@dataclasses.dataclass(frozen=True, eq=False)
class Judge:
    """The split on which files are judged, and by what.

    Attributes:
      batches: of the test split, as `Splits.batches` gives them: fields and mask; of noise likewise.
      data: by which images are normalised.
      evaluators: those of the player that sum.
    """

    batches: Sequence[Mapping[str, np.ndarray]]
    data: Data
    evaluators: Sequence[Evaluator]

    @property
    def size(self) -> int:
        return sum(int(np.sum(batch["mask"])) for batch in self.batches)

    def judge(
        self,
        exportable: Exportable,
        call: Call,
        *,
        normalise: bool = True,
        others: Mapping[str, Sequence[Any]] | None = None,
    ) -> Judgement:
        """Measure one file.

        Args:
          exportable: the player that it is of.
          call: the file.
          normalise: whether normalisation is inside of it.
          others: name -> what another player gives on each batch, as its module gives it.
        """
        made, totals = [], None
        for i, raw in enumerate(self.batches):
            output = np.asarray(call(*taken(exportable, raw, self.data, normalise)))
            given = {name: outputs[i] for name, outputs in (others or {}).items()}
            sums = self._sums(exportable, call, raw, output, normalise, given, i)
            totals = sums if totals is None else jax.tree.map(np.add, totals, sums)
            made.append(output[np.asarray(raw["mask"], bool)])
        measures: dict[str, float] = {}
        for place, evaluator in enumerate(self.evaluators):
            assert evaluator.summarise is not None
            assert totals is not None
            numbers = evaluator.summarise(totals[place])
            single = {one.name for one in evaluator.measures if not one.elements}
            measures |= {name: float(value) for name, value in numbers.items() if name in single}
        return Judgement(measures, made, self.milliseconds(exportable, call, normalise))

    def _sums(self, exportable, call, raw, output, normalise, others, place) -> list[Any]:
        seen = {name: jnp.asarray(value) for name, value in as_players_see(self.data, raw).items()}
        batch = {**seen, "pixels": {"mean": self.data.mean, "std": self.data.std}}
        back = lambda made: jnp.asarray(exportables.back(exportable, made, normalise=normalise))
        known = back(output)

        def apply(variables, given, **kwargs):
            if given is batch and not kwargs:
                return known
            if kwargs or not isinstance(given, Mapping):
                raise ConfigError(
                    f"{exportable.name} is judged by an evaluator that calls its module in another way, which no file has;"
                    " --nojudge writes the files alone"
                )
            return back(np.asarray(call(*_from_seen(exportable, given, self.data, normalise))))

        sums = []
        for i, evaluator in enumerate(self.evaluators):
            key = jax.random.fold_in(jax.random.fold_in(jax.random.key(KEYS["test"]), place), i)
            looked_up = {name: (lambda _, value=others[name]: value) for name in evaluator.others if name in others}
            assert evaluator.sums is not None
            sums.append(jax.device_get(evaluator.sums(apply, {"params": {}}, batch, key, looked_up)))
        return sums

    def milliseconds(self, exportable: Exportable, call: Call, normalise: bool) -> dict[int, float]:
        """Examples of a call -> its time, the median of some, arrays of NumPy in and out."""
        first = self.batches[0]
        times = {}
        for count in BATCHES:
            rows = np.resize(np.flatnonzero(np.asarray(first["mask"])), count)
            given = taken(
                exportable, {name: np.asarray(value)[rows] for name, value in first.items()}, self.data, normalise
            )
            times[count] = 1e3 * _seconds(call, given)
        return times


def in_jax(exportable: Exportable, *, normalise: bool = True) -> Call:
    """The player itself, compiled, as a file gives its output."""
    compiled = jax.jit(exportables.function(exportable, normalise=normalise))
    return lambda *arrays: np.asarray(compiled(*arrays))


def taken(exportable: Exportable, raw: Mapping[str, Any], data: Data, normalise: bool) -> list[np.ndarray]:
    """What of an evaluation batch a file takes."""
    batch = raw if normalise else as_players_see(data, raw)
    arrays = {name: np.asarray(batch[name]) for name in exportable.inputs}
    if exportable.makes_images_of_noise:  # of a smaller latent as in training
        arrays["noise"] = np.asarray(
            project(jnp.asarray(arrays["noise"]), int(exportable.inputs["noise"].shape[0] or 0))
        )
    return list(arrays.values())


def _from_seen(exportable: Exportable, batch: Mapping[str, Any], data: Data, normalise: bool) -> list[np.ndarray]:
    """The same of a batch that an evaluator made, whose images are normalised: the nearest bytes."""
    arrays = []
    for name, field in exportable.inputs.items():
        value = np.asarray(batch[name])
        if field.kind == "image" and normalise:
            unit = value * np.asarray(data.std, np.float32) + np.asarray(data.mean, np.float32)
            value = np.round(255 * np.clip(unit, 0, 1)).astype(np.uint8)
        arrays.append(value)
    return arrays


def agreement(exportable: Exportable, one: Judgement, other: Judgement) -> float | None:
    """The share of decisions that two files have in common: classes of examples or tokens, tags; None: they decide none."""
    decides = OUTPUTS[exportable.output].decides
    if decides is None:
        return None
    same = [np.ravel(decides(a) == decides(b)) for a, b in zip(one.made, other.made, strict=True)]
    return float(np.mean(np.concatenate(same)))


def difference(one: Judgement, other: Judgement) -> float:
    """The largest difference of two files' outputs."""
    pairs = zip(one.made, other.made, strict=True)
    largest = [float(np.max(np.abs(a.astype(np.float64) - b.astype(np.float64)))) for a, b in pairs if a.size]
    return max(largest, default=0.0)


def _seconds(call: Call, given: Sequence[np.ndarray]) -> float:
    for _ in range(WARM_UPS):
        call(*given)
    times: list[float] = []
    while len(times) < REPEATS and (len(times) < FEWEST or sum(times) < LONGEST):
        start = time.perf_counter()
        call(*given)
        times.append(time.perf_counter() - start)
    return statistics.median(times)
