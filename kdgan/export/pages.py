"""What a page is given of a player: its networks as ONNX, and what kind of page fits what it takes and gives."""

import pathlib
from collections.abc import Mapping
from typing import Any

from kdgan.export.exportable import Exportable


def kind(exportable: Exportable) -> str:
    """The kind of page: "classifier", "generator" or "images".

    Raises:
      ValueError: a player that takes something else than one image or noise, or gives something else.
    """
    kinds = [field.kind for field in exportable.inputs.values()]
    if exportable.makes_images_of_noise and exportable.output == "images":
        return "generator"
    if kinds == ["image"] and exportable.output in ("probabilities", "images"):
        return "classifier" if exportable.output == "probabilities" else "images"
    takes = ", ".join(f"{name} ({field})" for name, field in exportable.inputs.items())
    raise ValueError(
        f"a page cannot show {exportable.name}, which takes {takes} and gives {exportable.output}; it shows a classifier of"
        " images, what makes images of noise, and what makes images of images"
    )


def write(
    path: pathlib.Path, exportable: Exportable, networks: Mapping[str, bytes], *, latents: Mapping[str, int] | None = None,
    **shown: Any,
) -> None:  # fmt: skip
    """Write a page of networks side by side, label -> ONNX, the first the one that others are compared with.

    Args:
      path: of the page.
      exportable: the player that it is about.
      networks: label -> content of an ONNX file.
      latents: label -> dimension of the noise, where it is not the player's.
      **shown: what else `kdgan.export.page.write` takes: examples, like, description.

    Raises:
      ValueError: no page shows such a player; onnxruntime-web is not in the cache.
    """
    from kdgan.export import page

    of_noise = exportable.makes_images_of_noise
    latent = int(exportable.inputs["noise"].shape[0] or 0) if of_noise else 0
    models = [
        page.PageModel(label=label, onnx=content, latent=(latents or {}).get(label, latent))
        for label, content in networks.items()
    ]
    page.write(
        path,
        models,
        kind=kind(exportable),
        title=exportable.name,
        about=dict(exportable.about),
        class_names=exportable.class_names,
        image_shape=() if of_noise else next(iter(exportable.inputs.values())).shape,
        **shown,
    )
