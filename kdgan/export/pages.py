"""The page of trained players: what `kdgan.export.page` has to be told of them, told by the players themselves."""

import pathlib
from collections.abc import Callable, Mapping
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
    path: pathlib.Path, exportable: Exportable, networks: Mapping[str, bytes], *, latents: Mapping[str, int] | None = None,
    **shown: Any,
) -> None:  # fmt: skip
    """Write a page of networks side by side, label -> ONNX, the first the one that others are compared with.

    Args:
      path: of the page.
      exportable: the player that it is about.
      networks: label -> content of an ONNX file, of the kind that the player is.
      latents: label -> dimension of the noise, where it is not the player's.
      **shown: what else `kdgan.export.page.write` takes: title, description, about, examples, like, sliders.

    Raises:
      ValueError: as `check`.
    """
    kind = check(exportable)
    of_noise = kind == "generator"
    latent = int(exportable.inputs["noise"].shape[0] or 0) if of_noise else 0
    models = [
        page.PageModel(label=label, onnx=content, latent=(latents or {}).get(label, latent))
        for label, content in networks.items()
    ]
    label = exportable.inputs.get("label")
    told: dict[str, Any] = {
        "title": exportable.name,
        "about": dict(exportable.about),
        "class_names": exportable.class_names if not of_noise or label is not None else (),
        "image_shape": () if of_noise else next(iter(exportable.inputs.values())).shape,
    }
    if of_noise:
        told["sliders"] = most_changing(_images_of(exportable, latent), max(model.latent for model in models))
    page.write(path, models, kind=kind, **{**told, **shown})


def _images_of(exportable: Exportable, latent: int) -> Callable[[np.ndarray], np.ndarray]:
    """Noise [n, d or more] -> images, of class 0 where they have one."""
    call = jax.jit(function(exportable))

    def images_of(noise: np.ndarray) -> np.ndarray:
        label = (jnp.zeros(len(noise), jnp.int32),) if len(exportable.inputs) > 1 else ()
        return np.asarray(call(project(jnp.asarray(noise), latent), *label))

    return images_of
