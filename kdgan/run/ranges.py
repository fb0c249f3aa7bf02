"""What a player makes of images lies where the data's pixels lie: checked before anything compiles.

A generator that ends in tanh cannot make data of [0, 1], and half of what it makes is none; yet it trains.
"""

import math
from collections.abc import Mapping
from typing import Any

from flax import linen as nn

from kdgan import game
from kdgan.data.dataset import Dataset
from kdgan.player import MAIN
from kdgan.ranges import ANYTHING, Interval, output_ranges, pixel_ranges
from kdgan.run.config import ConfigError
from kdgan.run.schema import Data
from kdgan.state import variable_shapes

TOLERANCE = 0.02  # of the pixels' range, by which a player's may fall short of it
LEAST_USED = 0.75  # of a player's range, that pixels take


def check(
    inspection: game.Inspection, modules: Mapping[str, nn.Module], data: Data, image_shape: tuple[int, ...]
) -> None:
    """Compare the players that make images, generators and autoencoders, with the data.

    A generator is a player that gives images of the data's shape and is given none, whatever the shape of its noise; and
    one that gives images of another size from noise [b, d].

    A module's range is read off its program (`kdgan/ranges.py`); one that is not known there is not compared. A module
    with an attribute `output_range` is taken at its word: (low, high), or None for one that is not to be compared.

    Raises:
      ConfigError: a range that does not reach all pixels, or of which they take less than three quarters; a Bernoulli
        likelihood of pixels outside [0, 1], or with a decoder whose logits are bounded, as probabilities are.
    """
    for name, output in inspection.outputs.items():
        if isinstance(output, Mapping) and "decoded" in output:
            _check_autoencoder(name, modules[name], _range(modules[name], *inspection.inputs[name], "decoded"), data)
        elif _is_generator(inspection, name, image_shape):
            _check_images(name, _range(modules[name], *inspection.inputs[name]), data)


def image_shape(example: Mapping[str, Any], dataset: Dataset) -> tuple[Any, ...]:
    """(h, w, c) of the images of a batch, or, in one without data, of the data that its players are measured on."""
    return tuple(example[MAIN].shape[1:]) if MAIN in example else dataset.image_shape


def unknown(inspection: game.Inspection, modules: Mapping[str, nn.Module], image_shape: tuple[int, ...]) -> list[str]:
    """The generators that `check` cannot compare, since neither end of their range is read off their program."""
    generators = [name for name in inspection.outputs if _is_generator(inspection, name, image_shape)]
    return [name for name in generators if _range(modules[name], *inspection.inputs[name]) == ANYTHING]


def _is_generator(inspection: game.Inspection, name: str, image_shape: tuple[int, ...]) -> bool:
    output, (args, kwargs) = inspection.outputs[name], inspection.inputs[name]
    given = [value.shape for value in (*args, *kwargs.values()) if hasattr(value, "shape")]
    if getattr(output, "ndim", 0) != 4 or not given or any(shape[1:] == image_shape for shape in given):
        return False
    return output.shape[1:] == image_shape or len(given[0]) == 2


def _range(module: nn.Module, args: tuple, kwargs: Mapping[str, Any], entry: str | None = None) -> Interval | None:
    if hasattr(module, "output_range"):
        return module.output_range
    variables = variable_shapes(module, (args, kwargs))
    arrays = {name: value for name, value in kwargs.items() if hasattr(value, "shape")}
    rest = {name: value for name, value in kwargs.items() if name not in arrays}
    call = lambda variables, args, arrays: game.call_module(module, variables, *args, train=False, **arrays, **rest)[0]
    result = output_ranges(call, variables, args, arrays)
    return result[entry] if entry else result


def _check_images(name: str, made: Interval | None, data: Data) -> None:
    if made is None or not any(map(math.isfinite, made)):
        return
    low, high = made
    pixels = pixel_ranges(data.mean, data.std)
    for least, most in pixels:
        width = most - least
        reached = low <= least + TOLERANCE * width and high >= most - TOLERANCE * width
        if reached and (math.isinf(high - low) or width >= LEAST_USED * (high - low)):
            continue
        cure = "let its last activation reach all of them"
        if math.isfinite(high - low) and high > low:
            std = 1 / (high - low)
            cure = f"set config.data.mean = {(0.0 - low) * std:.4g}, config.data.std = {std:.4g}"
        raise ConfigError(
            f"config.players.{name}: it makes images in {_shown(made)}, the data's pixels lie in"
            f" {', '.join(map(_shown, dict.fromkeys(pixels)))} (config.data.mean = {data.mean}, std = {data.std}); {cure};"
            " where they lie elsewhere, its module states it by output_range = (low, high)"
        )


def _check_autoencoder(name: str, module: nn.Module, decoded: Interval | None, data: Data) -> None:
    if getattr(module, "likelihood", "bernoulli") != "bernoulli":
        _check_images(name, decoded, data)
        return
    if any(least < -TOLERANCE or most > 1 + TOLERANCE for least, most in pixel_ranges(data.mean, data.std)):
        raise ConfigError(
            f"config.data.mean = {data.mean}, std = {data.std}: pixels then leave [0, 1], which the Bernoulli likelihood of"
            f" {name} is of; set config.data.mean = 0.0, config.data.std = 1.0, or players.{name}.model_args.likelihood ="
            " 'gaussian'"
        )
    if decoded is not None and (_sigmoid(decoded[0]) > TOLERANCE or _sigmoid(decoded[1]) < 1 - TOLERANCE):
        raise ConfigError(
            f"config.players.{name}: what it decodes lies in {_shown(decoded)}, and as logits, which the Bernoulli"
            f" likelihood reads, this is pixels in {_shown((_sigmoid(decoded[0]), _sigmoid(decoded[1])))}; leave out its"
            " last activation, or give it a field likelihood = 'gaussian'"
        )


def _sigmoid(x: float) -> float:
    return 0.5 + 0.5 * math.tanh(x / 2)


def _shown(interval: Interval) -> str:
    return "[" + ", ".join(f"{end:.4g}" for end in interval) + "]"
