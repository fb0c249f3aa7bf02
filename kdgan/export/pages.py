"""The page of trained players: what `kdgan.export.page` has to be told of them, told by the players themselves."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdgan.export import onnxruntime_web, page
from kdgan.export.exportable import Exportable, function
from kdgan.export.latents import most_changing
from kdgan.losses.latents import project


def check(exportable: Exportable, *, normalise: bool = True) -> str:
    """The kind of page that runs a player; called before anything is converted.

    Raises:
      ValueError: a page runs no such player, nor one whose images are normalised outside; onnxruntime-web is absent.
    """
    if not normalise:
        raise ValueError("normalise = False: format page gives its networks pixels as they are, and takes True alone")
    kind = page.kind_of(exportable.name, exportable.inputs, exportable.output)
    onnxruntime_web.read()
    return kind


def write(
    path: pathlib.Path, exportable: Exportable, networks: Mapping[str, bytes], *, others: Sequence[Exportable] = (),
    **shown: Any,
) -> None:  # fmt: skip
    """Write a page of networks side by side, label -> ONNX, the first the one that others are compared with.

    Args:
      path: of the page.
      exportable: the player that it is about.
      networks: label -> content of an ONNX file: of the player ("student", "student, int8") and of others by their names.
      others: the players of the other networks, of the same kind and classes.
      **shown: what else `kdgan.export.page.write` takes: title, description, about, examples, like, sliders.

    Raises:
      ValueError: as `check`; or others are of another kind, or of other classes.
    """
    kind = check(exportable)
    of_noise = kind == "generator"
    for other in others:
        if page.kind_of(other.name, other.inputs, other.output) != kind or other.class_names != exportable.class_names:
            raise ValueError(
                f"format page shows {exportable.name} and {other.name} side by side: what they give, or the classes, differ"
            )
    players = {other.name: other for other in others}
    models = [
        page.PageModel(label, content, _note(label, player), latent=_latent(player))
        for label, content in networks.items()
        for player in [players.get(label, exportable)]
    ]
    names = [label for label in networks if label == exportable.name or label in players]
    label = exportable.inputs.get("label")
    told: dict[str, Any] = {
        "title": f"{_data_name(exportable)}{' and '.join(names)}",
        "about": dict(exportable.about),
        "class_names": exportable.class_names if not of_noise or label is not None else (),
        "image_shape": () if of_noise else next(iter(exportable.inputs.values())).shape,
    }
    if of_noise:
        told["sliders"] = most_changing(_images_of(exportable), max(model.latent for model in models))
    page.write(path, models, kind=kind, **{**told, **shown})


def _data_name(player: Exportable) -> str:
    """What heads the title: "digits: ", or of data from a folder its name, or ""."""
    name = pathlib.PurePath(player.about.get("data", "").rpartition(":")[2]).name
    return f"{name}: " if name else ""


def _note(label: str, player: Exportable) -> str:
    if label != player.name:
        return "the same, quantised"
    return f"{sum(leaf.size for leaf in jax.tree.leaves(player.variables['params'])):,} parameters"


def _latent(player: Exportable) -> int:
    """Dimensions of its noise, of what makes images of noise."""
    return int(player.inputs["noise"].shape[0] or 0) if player.makes_images_of_noise else 0


def _images_of(exportable: Exportable) -> Callable[[np.ndarray], np.ndarray]:
    """Noise [n, d or more] -> images, of class 0 where they have one."""
    call = jax.jit(function(exportable))

    def images_of(noise: np.ndarray) -> np.ndarray:
        label = (jnp.zeros(len(noise), jnp.int32),) if len(exportable.inputs) > 1 else ()
        return np.asarray(call(project(jnp.asarray(noise), _latent(exportable)), *label))

    return images_of
