"""The features that generated images are judged by: a trained network up to a layer, and those of the real images kept.

An extractor is any Flax module with its variables and the path of a layer, as LeNet's "embedding". Its fingerprint
identifies the numbers it gives, so that the features of a whole data set are computed once and found again on disk.
"""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import re
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jaxtyping import Float

from kdgan import files, parallel
from kdgan.game import call_module
from kdgan.metrics.generative import moments
from kdgan.models import inception_weights
from kdgan.models.inception import InceptionV3

Images = Float[np.ndarray, "n h w c"] | Float[Array, "n h w c"]

# Part of every fingerprint: raise it when the same network would give other numbers than before.
_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Extractor:
    """A network that turns images into features: `extractor(images) -> {"features", "probabilities"}`.

    Attributes:
      name: of the network, e.g. "lenet".
      label: what a Fréchet distance of its features is called: "FD-lenet". "FID" is that of `inception_extractor` alone.
      fingerprint: hash of module, parameters and layer; equal ones give equal features.
      batch_size: images per call of the network.
      run: `batch of images -> (features, probabilities or None)`, compiled.
      module: the network; None: there is nothing but `run`.
      variables: of the network.
      channels: of the images that it takes; None: of one or three, or not known.
    """

    name: str
    label: str
    fingerprint: str
    batch_size: int
    run: Callable[[Any], tuple[Any, Any]] = dataclasses.field(repr=False, compare=False)
    module: Any = dataclasses.field(default=None, repr=False, compare=False)
    variables: Any = dataclasses.field(default=None, repr=False, compare=False)
    channels: int | None = None

    def __call__(self, images: Images) -> dict[str, np.ndarray | None]:
        """Features of any number of images, in batches of one shape; the last is filled up and the filling dropped.

        Args:
          images: [n, h, w, c], normalised as those that the network was trained on.

        Returns:
          "features" [n, d] and "probabilities" [n, k], float32 on the host; the latter None where the network gives no
          logits [n, k].

        Raises:
          ValueError: images that are not [n, h, w, c], or none; the network has no such layer, or its output is no feature.
        """
        if images.ndim != 4 or len(images) == 0:
            raise ValueError(
                f"extractor {self.name!r} got images of shape {tuple(images.shape)};"
                " it accepts [n, h, w, c] with n of at least 1"
            )
        features, probabilities = [], []
        for start in range(0, len(images), self.batch_size):
            batch = np.asarray(images[start : start + self.batch_size])
            filling = self.batch_size - len(batch)
            found, p = jax.device_get(self.run(np.pad(batch, ((0, filling), (0, 0), (0, 0), (0, 0)), mode="edge")))
            features.append(found[: len(batch)])
            if p is not None:
                probabilities.append(p[: len(batch)])
        return {
            "features": np.concatenate(features),
            "probabilities": np.concatenate(probabilities) if probabilities else None,
        }


def make_extractor(
    module: nn.Module, variables: Any, *, layer: str = "embedding", name: str = "lenet", batch_size: int = 500
) -> Extractor:
    """The extractor of a layer of a trained network, run in evaluation mode and full float32 precision.

    Features of an image-shaped layer [b, h, w, c] are averaged over h and w, as FID's are. Where the network's own
    output is [b, k] it is taken for logits, and their softmax is given beside the features.

    Args:
      module: any Flax module `(images) -> output`; a training switch it has is set to evaluation.
      variables: its {"params": ..., and others as "batch_stats"}.
      layer: module path, as `players.student(x, features=(...,))` takes.
      name: stands in the label, "FD-<name>".
      batch_size: images per call.

    Raises:
      ValueError: batch_size below 1. At the first call: no such layer, or its output is neither [b, d] nor has
        dimensions between those two.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
    variables = jax.device_put(variables)

    @parallel.compiled
    def forward(variables, images):
        # Accelerators multiply with fewer digits by default, and a distance of features would tell which one was used.
        with jax.default_matmul_precision("float32"):
            output, _, found = call_module(module, variables, images, train=False, features=(layer,))
        logits = isinstance(output, jax.Array) and output.ndim == 2
        probabilities = jax.nn.softmax(output.astype(jnp.float32), axis=1) if logits else None
        return _flat(found[layer], layer), probabilities

    return Extractor(
        name=name,
        label=f"FD-{name}",
        fingerprint=_fingerprint(module, variables, layer),
        batch_size=batch_size,
        run=lambda images: forward(variables, images),
        module=module,
        variables=variables,
    )


def inception_extractor(weights: str | os.PathLike, *, batch_size: int = 50) -> Extractor:
    """The extractor whose Fréchet distance is the FID of Heusel et al. 2017: Inception's last pooling, 2048 features.

    It takes images in [−1, 1] of any size, of one or three channels, and gives probabilities of 1008 classes from
    logits without bias, as the inception score of Salimans et al. 2016. A number is comparable with a published one
    only if the numbers of images agree, and more than 2048 of each are needed.

    Args:
      weights: path of the published weights, as `kdgan.models.inception_weights.load` reads them.
      batch_size: images per call.

    Raises:
      FileNotFoundError, ValueError, ImportError: as `kdgan.models.inception_weights.load`.
    """
    module = InceptionV3(head_bias=False)
    extractor = make_extractor(
        module, inception_weights.load(weights, module), layer="pool3", name="inception", batch_size=batch_size
    )
    return dataclasses.replace(extractor, label="FID")


@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
    """What an extractor gives for the real images, computed once for every comparison with them.

    Attributes:
      features: [n, d] float32.
      probabilities: [n, k] float32, or None.
      mean: of the features, [d] float64.
      covariance: of the features, [d, d] float64; singular where n <= d.
    """

    features: np.ndarray
    probabilities: np.ndarray | None
    mean: np.ndarray
    covariance: np.ndarray


def reference(
    extractor: Extractor,
    images: Callable[[], Images | Iterable[Images]],
    *,
    data: str,
    cache: str | os.PathLike | None = None,
) -> Reference:
    """The real images' features, from the file that an earlier call left under `cache`, else computed and left there.

    The file is `<cache>/reference-<hash of both fingerprints>.npz`, written whole or not at all. A damaged one is
    computed again; a folder that cannot be written costs the next run time, not this one.

    Args:
      extractor: whose features.
      images: called only where there is no file: all images [n, h, w, c], or batches of them.
      data: fingerprint of the images: whatever changes them (data set, split, normalisation) must change it.
      cache: folder, made where it is missing; None keeps nothing.

    Raises:
      ValueError: fewer than 2 images; as `Extractor`.
    """
    key = hashlib.sha256("\n".join((extractor.fingerprint, data)).encode()).hexdigest()[:24]
    path = None if cache is None else pathlib.Path(cache) / f"reference-{key}.npz"
    if path is not None and (found := _read(path)) is not None:
        return found
    given: Any = images()
    batches = [given] if hasattr(given, "shape") else given
    parts = [extractor(batch) for batch in batches]
    if not parts:
        raise ValueError(f"extractor {extractor.name!r} got no images to refer to (data={data!r})")
    features = np.concatenate([part["features"] for part in parts])
    probabilities = [p for part in parts if (p := part["probabilities"]) is not None]
    result = Reference(features, np.concatenate(probabilities) if probabilities else None, *moments(features))
    if path is not None:
        with contextlib.suppress(OSError):
            files.write_arrays(path, {name: value for name, value in vars(result).items() if value is not None})
    return result


def _flat(feature: Any, layer: str) -> Array:
    """[b, d], the mean over what lies between, float32."""
    if not isinstance(feature, jax.Array) or feature.ndim < 2:
        found = f"an array {feature.shape}" if isinstance(feature, jax.Array) else type(feature).__name__
        raise ValueError(f"layer {layer!r} gives {found}; features are [b, d] or, averaged over h and w, [b, h, w, c]")
    return jnp.mean(feature.astype(jnp.float32), axis=tuple(range(1, feature.ndim - 1)))


def _fingerprint(module: nn.Module, variables: Any, layer: str) -> str:
    """Hash of what decides the features. A field that is a function is known by its name only."""
    # The address of a function differs between processes.
    description = re.sub(r" at 0x[0-9a-f]+", "", repr(module))
    digest = hashlib.sha256(f"{_FORMAT}\n{type(module).__module__}\n{description}\n{layer}\n".encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _read(path: pathlib.Path) -> Reference | None:
    """What the file holds, or None where there is none that is whole."""
    stored = files.read_arrays(path) or {}
    try:
        return Reference(stored["features"], stored.get("probabilities"), stored["mean"], stored["covariance"])
    except KeyError:
        return None
