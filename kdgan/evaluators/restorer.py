"""A restorer: judged by how close the images that it makes of damaged or small ones are to the field `target`."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from kdgan.evaluators.evaluator import Evaluator, Judged, Measure, Setting
from kdgan.evaluators.figures import Figure, grid
from kdgan.metrics import restoration

TARGET = "target"
SHOWN = 6  # images of the test split in a report


def restorer(*, channels: str = "rgb", border: int = 0, similarity: bool = True) -> Evaluator:
    """PSNR in dB and SSIM, means over images: whole images, of one size or of several.

    Args:
      channels: "rgb", all channels of the image; or "luma", the Y of its Y'CbCr, as tables of super-resolution have it.
      border: pixels that are left out on every side: there, the scale.
      similarity: whether SSIM is measured, which wants images of 11×11 pixels within the border.

    Raises:
      ValueError: channels that there are not, or a negative border.
    """
    if channels not in restoration.CHANNELS:
        raise ValueError(f"channels = {channels!r}: accepted are {', '.join(restoration.CHANNELS)}")
    if border < 0:
        raise ValueError(f"border = {border}: pixels, 0 or more, are accepted")
    compared = "on the luma" if channels == "luma" else ""
    compared += f"{', ' if compared else ''}without {border} pixels on every side" if border else ""
    note = f"PSNR{' and SSIM' if similarity else ''}: {compared}" if compared else ""
    measures = [Measure("psnr", "PSNR", unit="dB", digits=2, note=note)]
    if similarity:
        measures.append(Measure("ssim", "SSIM", digits=4, bounds=(-1.0, 1.0)))

    def sums(apply, variables, batch, key, others):
        restored, target = (_unit(x, batch.get("pixels")) for x in (apply(variables, batch), batch[TARGET]))
        return restoration.sums(
            restored, target, batch["mask"], channels=channels, border=border, similarity=similarity
        )

    def summarise(sums):
        return {name: float(value) for name, value in restoration.summarise(sums).items()}

    return Evaluator(*measures, sums=sums, summarise=summarise, fits=_fits, pictures=_pictures, gives="images")


def _unit(image: Any, pixels: Mapping[str, Any] | None) -> Any:
    """Images in [0, 1] of those that players see: x·std + mean; without `pixels` they are in that range."""
    if pixels is None:
        return image
    mean, std = (jnp.asarray(pixels[name], jnp.float32).reshape(1, 1, 1, -1) for name in ("mean", "std"))
    return image * std + mean


def _fits(output: Any, fields: Mapping[str, Any]) -> str | None:
    target = fields.get(TARGET)
    if target is None or target.kind != "image":
        have = f"have no field {TARGET!r}" if target is None else f"have a {TARGET!r} of kind {target.kind!r}"
        return f"a restorer is measured by the true images, and the data {have}"
    shape = tuple(output.shape) if hasattr(output, "shape") else None
    fitting = shape is not None and len(shape) == 4
    if not fitting or any(t not in (None, s) for s, t in zip(shape[1:], target.shape, strict=True)):  # type: ignore[index]
        made = shape if shape is not None else ", ".join(output)
        return f"its output is {made}, images like the target {tuple(target.shape)} are wanted"
    return None


def _pictures(setting: Setting, judged: Judged) -> list[Figure]:
    """What it is given, what it makes of it, and what is true, of the first images of the test split."""
    if judged.forward is None or "image" not in setting.fields:
        return []
    batch = next(iter(setting.splits.batches("test")))
    rows = np.flatnonzero(np.asarray(batch["mask"]))[:SHOWN]
    pixels = {"mean": setting.mean, "std": setting.std}
    made = np.asarray(_unit(jnp.asarray(judged.forward(judged.variables, batch)), pixels))[rows]
    restored = np.round(255 * np.clip(made, 0, 1)).astype(np.uint8)
    given, target = (np.asarray(batch[name])[rows] for name in ("image", TARGET))
    shape = target.shape[1:]
    images = np.stack([_shaped(given, shape), restored, target])
    return [grid("Restored images", images, rows=("given", judged.name, "true"), note="Of the test split")]


def _shaped(images: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Images [n, h, w, c] in the sides and channels of others: each pixel repeated or left out; grey in every channel."""
    rows, columns = (np.arange(side) * images.shape[axis] // side for axis, side in ((1, shape[0]), (2, shape[1])))
    sized = images[:, rows][:, :, columns]
    return np.broadcast_to(sized[..., :1], (*sized.shape[:3], shape[2])) if sized.shape[3] != shape[2] else sized
