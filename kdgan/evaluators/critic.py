"""A network by whose features images are compared: of a file of weights, or the one that `evaluate.extractor` names.

An evaluator names it by a mapping: `dict(model="squeezenet", weights="squeezenet.npz", layers=("fire2", "fire5"))`, with
`model_args` where it has any. Without `model` it is the run's extractor, a player that an earlier stage trains, say. Where
images are grey, a network that takes RGB is given them as three equal channels.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from kdgan import models, parallel, weights
from kdgan.data.fields import Field
from kdgan.evaluators.evaluator import Judged, Setting
from kdgan.game import call_module
from kdgan.metrics.perceptual import linear_weights

FIELDS = ("model", "weights", "model_args", "layers", "linear")
SIDE = 96  # pixels of the image that a network is laid out with, of data whose images differ in size
RGB = 3


@dataclasses.dataclass(frozen=True, eq=False)
class Critic:
    """A network with its variables.

    Attributes:
      module: Flax module of images.
      variables: {"params": tree, ...}.
      mean: of the pixels that it sees: (pixel − mean) / std of pixels in [0, 1].
      std: likewise.
      channels: that it takes; None: not known, images are given as they are.
    """

    module: Any
    variables: Any
    mean: Any = 0.0
    std: Any = 1.0
    channels: int | None = None

    @property
    def key(self) -> tuple:
        """What its features of an image follow from, but for its variables."""
        return self.module, repr(self.mean), repr(self.std), self.channels

    def features(self, variables: Any, image: jax.Array, layers: Sequence[str]) -> Mapping[str, jax.Array]:
        """Features by module path of images [b, h, w, c] in [0, 1], in full float32 precision.

        Grey ones, c = 1, are repeated to three channels where the network takes three.

        Raises:
          ValueError: there is no such layer, or images are so small that it has no features of them.
        """
        channels = lambda value: jnp.asarray(value, jnp.float32).reshape(1, 1, 1, -1)
        if self.channels == RGB and image.shape[-1] == 1:
            image = jnp.repeat(image, RGB, -1)
        seen = (image - channels(self.mean)) / channels(self.std)
        with jax.default_matmul_precision("float32"):
            features = call_module(self.module, variables, seen, train=False, features=tuple(layers))[2]
        for path in layers:
            if 0 in features[path].shape:
                raise ValueError(f"{path!r} has no features of images of {image.shape[1]}×{image.shape[2]} pixels")
        return features


def check(field: str, spec: Mapping[str, Any] | None) -> None:
    """Raises ValueError for fields that there are not, or a model without weights."""
    if spec is None:
        return
    if not isinstance(spec, Mapping):
        raise ValueError(f"{field} = {spec!r}: a mapping of {', '.join(FIELDS)}, or None, is accepted")
    paths(f"{field}.layers", spec.get("layers", ()))
    if unknown := [name for name in spec if name not in FIELDS]:
        raise ValueError(f"{field} has no {unknown[0]!r}; accepted are {', '.join(FIELDS)}")
    if ("model" in spec) != ("weights" in spec):
        raise ValueError(
            f"{field} = {dict(spec)}: model and weights go together; without both it is evaluate.extractor's"
        )


def paths(field: str, value: Any) -> tuple[str, ...]:
    """Paths of a network's modules, or a ValueError for what is none; a single word would be read letter by letter."""
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(path, str) for path in value):
        raise ValueError(f"{field} = {value!r}: paths of modules, as ('body',), are accepted")
    return tuple(value)


def is_of_run(spec: Mapping[str, Any] | None) -> bool:
    """Whether the network is the run's extractor."""
    return not (spec and "model" in spec)


def called(spec: Mapping[str, Any] | None) -> str:
    """The network's name, in words."""
    return "the run's extractor" if is_of_run(spec) else str(spec["model"])  # type: ignore[index]


# (network, fields of the data) -> why its features cannot be compared, in one line, or None.
Looks = Callable[[Critic, Mapping[str, Field]], str | None]


def problem(spec: Mapping[str, Any] | None, field: Field, fields: Mapping[str, Field], looks: Looks) -> str | None:
    """Why the file's network cannot be used for images of a field, in one line; None: it can, or is the run's."""
    if is_of_run(spec):
        return None
    try:
        network = of_file(spec, field)
    except (ValueError, TypeError, OSError) as error:
        return " ".join(str(error).split())
    return looks(network, fields)


def tried(function: Callable[..., Any], *arguments: Any) -> str | None:
    """Why a function of arrays of these shapes fails, in one line; None: it does not. Nothing is computed."""
    try:
        jax.eval_shape(function, *arguments)
    except (ValueError, TypeError) as error:
        return " ".join(str(error).split())
    except Exception as error:  # whatever a module raises
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return None


def images_of(field: Field, count: int = 1) -> jax.ShapeDtypeStruct:
    """The shape [n, h, w, c] of images of a field."""
    return jax.ShapeDtypeStruct((count, *(SIDE if side is None else side for side in field.shape)), jnp.float32)


def linear(spec: Mapping[str, Any] | None, layers: Sequence[str]) -> list[Any] | None:
    """The weights of the layers' channels that a file holds, where one is named.

    Raises:
      ValueError: it is no file of weights, or has others; one line that begins with its path.
    """
    path = (spec or {}).get("linear")
    if path is None:
        return None
    try:
        return linear_weights(dict(_flat(weights.read(path).arrays)), layers)
    except ValueError as error:
        said = str(error)
        raise ValueError(said if said.startswith(str(path)) else f"{path}: {said}") from error


def _flat(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{above}{name}/")
        else:
            yield f"{above}{name}", value


def of_file(spec: Mapping[str, Any] | None, field: Field) -> Critic:
    """The network of a file of weights, for images of a field: of its channels, or of RGB where that is grey.

    Raises:
      ValueError: no such model or file, or weights that do not fit.
    """
    given = spec or {}
    named = {name: given[name] for name in ("model", "weights", "model_args") if name in given}
    return _of_file(json.dumps(named), images_of(field).shape[1:])


@functools.lru_cache(maxsize=4)
def _of_file(spec: str, shape: tuple[int, int, int]) -> Critic:
    fields = json.loads(spec)
    module = models.build(fields["model"], **fields.get("model_args", {}))
    *sides, channels = shape
    refused: list[ValueError] = []
    for count in (RGB, 1) if channels == 1 else (channels,):
        try:
            variables = weights.load(fields["weights"], module, (1, *sides, count))
            return Critic(module, jax.device_put(variables), channels=count)
        except ValueError as error:
            refused.append(error)
    raise refused[0]


def of(setting: Setting, spec: Mapping[str, Any] | None, field: str) -> Critic:
    """The network that an evaluator names, once it is there, for images of a field of the data."""
    if not is_of_run(spec):
        return of_file(spec, setting.fields[field])
    extractor = setting.extractor
    if extractor is None or extractor.module is None:
        raise ValueError("there is no network by whose features images are compared; set evaluate.extractor")
    mean, std = setting.extractor_pixels
    return Critic(extractor.module, extractor.variables, mean, std, extractor.channels)


Compare = Callable[..., Mapping[str, jax.Array]]  # (critic's variables, made, batch, ...) -> name -> [b]


def total(
    setting: Setting, judged: Judged, split: str, critic: Critic, compare: Compare, key: Any, *further: Any
) -> dict[str, float]:
    """Means over a split's examples of what `compare` gives of each.

    Args:
      setting: of the run.
      judged: the player.
      split: its name.
      critic: the network.
      compare: `(critic's variables, image made, fields as players see them in [0, 1], *further) -> name -> [b]`, pure.
      key: all that `compare` follows from but for what it is given and the network: its compiled form is kept by both.
      further: arrays that it is given.
    """
    key = (key, critic.key)
    if key not in setting.memo:

        def sums(variables, made, batch, mask, *further):
            values = compare(variables, made, batch, *further)
            return {name: jnp.sum(jnp.where(mask != 0, value, 0)) for name, value in values.items()}

        setting.memo[key] = parallel.compiled(sums)
    parts: list[Any] = []
    for batch in setting.splits.batches(split):
        made = unit(judged.forward(judged.variables, batch), setting.pixels)  # type: ignore[misc]
        seen = {name: unit(value, setting.pixels) for name, value in fields(setting, batch).items()}
        parts.append(setting.memo[key](critic.variables, jnp.clip(made, 0, 1), seen, batch["mask"], *further))
    fetched = jax.device_get(parts)
    return {name: float(sum(part[name] for part in fetched)) / setting.splits.size(split) for name in fetched[0]}


def fields(setting: Setting, batch: Mapping[str, Any]) -> dict[str, Any]:
    """The images of an evaluation batch as players see them."""
    names = [name for name, field in setting.fields.items() if field.kind == "image" and name in batch]
    seen = setting.see(batch)
    return {name: seen[name] for name in names}


def unit(image: Any, pixels: Mapping[str, Any] | None) -> Any:
    """Images in [0, 1] of those that players see: x·std + mean; without `pixels` they are in that range."""
    if pixels is None:
        return image
    mean, std = (jnp.asarray(pixels[name], jnp.float32).reshape(1, 1, 1, -1) for name in ("mean", "std"))
    return jnp.asarray(image) * std + mean
