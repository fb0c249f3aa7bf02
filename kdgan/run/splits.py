"""The splits that a run evaluates on: validation and test, each example once, in batches that are kept where they fit.

Where there is no validation split, `training` gives some of the first seed's training examples, spread over all of them.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from kdgan.data.dataset import Dataset
from kdgan.data.fields import IMAGE
from kdgan.run import batches as run_batches
from kdgan.run.inputs import Inputs
from kdgan.run.schema import Run

TRAINING = 1_000  # examples of `training`, at most
PIXELS = 2**21  # of a batch of whole images that are restored: 0.5 GiB for 64 channels of them; and of `training` about


class Splits:
    """Rows, labels, images and evaluation batches of the splits; where images differ in size, those of one size together."""

    def __init__(self, run: Run, inputs: Inputs):
        partition = next(iter(inputs.partitions.values()))
        validation, training = partition.validation, partition.train
        most = min(len(training), _images_of(inputs.train, PIXELS) if inputs.config.degrade else TRAINING, TRAINING)
        some = np.unique(np.linspace(0, len(training) - 1, most).astype(np.int64))
        self._rows: Mapping[str, tuple[Dataset, np.ndarray]] = {
            split: (dataset, run_batches.by_shape(dataset, rows))
            for split, dataset, rows in (
                ("validation", inputs.train, validation),
                ("test", inputs.test, np.arange(len(inputs.test))),
                ("training", inputs.train, training[some]),
            )
        }
        self._batch_size = min(run.evaluate.batch_size, max(len(validation), len(inputs.test)))
        self._degraded, self._random = bool(inputs.config.degrade), inputs.degradation.is_random
        self._batches: dict[str, list] = {}

    def size(self, split: str) -> int:
        return len(self._rows[split][1])

    def labels(self, split: str) -> np.ndarray:
        """[n, ...]: classes, tags or numbers."""
        dataset, rows = self._rows[split]
        return dataset.label[rows]

    def examples(self, split: str, positions, names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Field -> [n, ...], as the data have it; None: all fields."""
        dataset, rows = self._rows[split]
        return dataset.examples(rows[positions], names)

    def images(self, split: str, positions) -> np.ndarray:
        """uint8 [n, h, w, c]."""
        dataset, rows = self._rows[split]
        return dataset.fetch(rows[positions])

    def batches(self, split: str) -> Iterable[Mapping[str, Any]]:
        """Fields and mask; kept on the device where the set lies in memory, else read again each time."""
        dataset, rows = self._rows[split]
        if split in self._batches:
            return self._batches[split]
        batches = run_batches.evaluation_batches(
            dataset, rows, self._batch_size, noise=split if self._random else "",
            pixels=PIXELS if self._degraded else None,
        )  # fmt: skip
        if not dataset.in_memory:
            return batches
        self._batches[split] = [jax.device_put(batch) for batch in batches]
        return self._batches[split]

    def fingerprint(self, split: str) -> str:
        """Of the split's rows and of its first images, or examples: what a cache of features is kept under."""
        dataset, rows = self._rows[split]
        digest = hashlib.sha256(np.ascontiguousarray(rows, np.int64).tobytes())
        names = None if dataset.image_field is None else (dataset.image_field,)
        for row in rows[:256]:  # one by one: images may differ in size
            for array in dataset.examples([int(row)], names).values():
                digest.update(np.ascontiguousarray(array).tobytes())
        return f"{dataset.split or split}-{digest.hexdigest()[:16]}"


def _images_of(dataset: Dataset, pixels: int) -> int:
    """How many images have about so many pixels; at least one."""
    images = dataset.arrays[IMAGE] if IMAGE in dataset.arrays else dataset.fetch(np.arange(1))
    return max(1, int(pixels / np.mean([image.shape[0] * image.shape[1] for image in images])))
