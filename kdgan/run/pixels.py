"""Where pixels lie that players are given and make: by the data's mean and std, and by those of a player's own.

What is made for images in [0, 1] alone is refused on others before anything compiles: the methods of restorers and of style,
and modules that say so by `unit_pixels`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from kdgan import methods
from kdgan.around import innermost
from kdgan.data.fields import Field
from kdgan.game import Inspection
from kdgan.run.config import ConfigError
from kdgan.run.evaluators import IF_IT_FITS, NOT_MEASURED
from kdgan.run.inputs import Inputs
from kdgan.run.schema import Arm

UNIT = (0.0, 1.0)  # mean and std of pixels in [0, 1]
RGB = 3


def check(
    arm: Arm, where: str, inspection: Inspection, modules: Mapping[str, nn.Module], inputs: Inputs,
    given: Mapping[str, Sequence[str]],
) -> None:  # fmt: skip
    """Refuse normalisations, of the data or of players, that the method or a player's module does not take.

    Args:
      arm: whose method and players.
      where: its field of the config.
      inspection: of its method.
      modules: player -> module without a device axis.
      inputs: the data.
      given: player -> the fields that it is given, where they are not the field `image` alone.

    Raises:
      ConfigError: pixels outside [0, 1] for what takes no others; a normalisation of its own of a player that is given no
        images, or whose output lies where the data's pixels lie.
    """
    _check_renormalised(arm, inspection, {n: [inputs.train.fields[f] for f in own] for n, own in given.items()})
    data = inputs.config
    of_data = f"config.data.mean = {data.mean}, std = {data.std}"
    cure = "set config.data.mean = 0.0, config.data.std = 1.0"
    method = arm.method.get("name")
    if method in methods.OF_UNIT_PIXELS and not _is_unit(data.mean, data.std):
        raise ConfigError(f"{of_data}: the method {method!r} of {where} is of images in [0, 1]; {cure}")
    for name, output in inspection.outputs.items():
        player, of_unit = arm.players[name], _of_unit_pixels(modules[name], inspection.inputs[name])
        makes = _makes_images(name, inspection.inputs[name], output)
        changed = {f: getattr(player, f) for f in ("mean", "std") if getattr(player, f) not in (None, getattr(data, f))}
        if makes and changed and (of_unit or method in methods.OF_UNIT_PIXELS):
            field, value = next(iter(changed.items()))
            raise ConfigError(
                f"config.players.{name}.{field} = {value}: {name} makes images of images, which lie where the data's pixels"
                f" lie, and would be given others; leave it out"
            )
        seen = [getattr(data, f) if getattr(player, f) is None else getattr(player, f) for f in ("mean", "std")]
        if of_unit and not _is_unit(*seen):
            fields = of_data if not changed else f"config.players.{name}.mean = {seen[0]}, std = {seen[1]}"
            others = (
                f", or config.players.{name}.mean = 0.0, std = 1.0" if _given_images(inspection.inputs[name]) else ""
            )
            raise ConfigError(
                f"{fields}: the model {player.model!r} of {name} is of images in [0, 1]; {cure}{'' if makes else others}"
            )


def _is_unit(mean: Any, std: Any) -> bool:
    return all(np.all(np.asarray(value) == unit) for value, unit in zip((mean, std), UNIT, strict=True))


def _given_images(given: tuple[tuple, Mapping[str, Any]]) -> list[Any]:
    return [leaf for leaf in jax.tree.leaves(given) if getattr(leaf, "ndim", 0) == 4]


def _of_unit_pixels(module: nn.Module, given: tuple[tuple, Mapping[str, Any]]) -> bool:
    """Whether a module is made for images in [0, 1], as it says, or for the luma of RGB."""
    inside, images = innermost(module), _given_images(given)
    of_luma = getattr(inside, "luma", False) is True and any(image.shape[-1] == RGB for image in images)
    return bool(getattr(inside, "unit_pixels", False)) or of_luma


def _makes_images(name: str, given: tuple[tuple, Mapping[str, Any]], output: Any) -> bool:
    """Whether a player makes images of images; critics and discriminators look at them."""
    looks = name.startswith((*NOT_MEASURED, *IF_IT_FITS))
    return not looks and getattr(output, "ndim", 0) == 4 and bool(_given_images(given))


def _check_renormalised(arm: Arm, inspection: Inspection, inputs: Mapping[str, Sequence[Field]]) -> None:
    """A mean, std or size of its own is of the images that a player is given; those that it makes lie as the data's do."""
    for name, (args, kwargs) in inspection.inputs.items():
        player, output = arm.players[name], inspection.outputs[name]
        changed = {field: getattr(player, field) for field in ("mean", "std", "image_size")}
        given = {field: value for field, value in changed.items() if value is not None}
        if not given:
            continue
        field, value = next(iter(given.items()))
        where = f"config.players.{name}.{field} = {value}"
        if isinstance(output, Mapping):
            raise ConfigError(
                f"{where}: {name} decodes images, which lie where the data's pixels lie; set data.{field}"
            )
        others = [one for one in inputs.get(name, ()) if one.kind != "image" and len(one.shape) == 3]
        if others:
            raise ConfigError(f"{where}: it is given a {others[0]}, which has the shape of images; leave {field} out")
        if not any(getattr(leaf, "ndim", 0) == 4 for leaf in jax.tree.leaves((args, kwargs))):
            shapes = ", ".join(str(tuple(leaf.shape)) for leaf in jax.tree.leaves((args, kwargs)))
            raise ConfigError(f"{where}: {name} is given no images, but {shapes}; leave {field} out")
