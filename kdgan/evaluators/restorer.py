"""A restorer: judged by how close the images that it makes of damaged or small ones are to the field `target`."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from kdgan.evaluators import critic
from kdgan.evaluators.evaluator import Evaluator, Judged, Measure, Setting
from kdgan.evaluators.figures import Figure, restored
from kdgan.metrics import restoration
from kdgan.metrics.perceptual import distance

TARGET = "target"
SCALE = "scale"
SHOWN = 4  # images of the test split in a report
WINDOW = 96  # pixels a side of what is shown of each, at most


def restorer(
    *, channels: str = "rgb", border: int | str = 0, rounded: bool = False, similarity: bool = True, edges: bool = True,
    perceptual: Mapping[str, Any] | None = None,
) -> Evaluator:  # fmt: skip
    """PSNR in dB and SSIM, means over images: whole images, of one size or of several.

    Images are clipped to [0, 1] first, a noisy input too, whose PSNR is then higher than the published one of noise that is
    not clipped: 20.17 dB for σ 25.

    Args:
      channels: "rgb", all channels of the image; or "luma", the Y of its Y'CbCr, as tables of super-resolution have it.
      border: pixels that are left out on every side; "scale": as many as the target's sides are times the given image's, as
        tables of super-resolution have it, and none where both have one size.
      rounded: whether images, and their luma again, are rounded to 8 bits, as published tables have it: by luma that is not
        rounded a network is up to 0.1 dB better.
      similarity: whether SSIM is measured, which wants images of 11×11 pixels within the border.
      edges: whether the error of gradients is: the mean absolute difference of the differences of neighbours, in levels of
        255. It stands below the table.
      perceptual: also the LPIPS-form distance (Zhang et al. 2018) of features of a network:
        dict(model=, weights=, model_args=, layers=(paths), linear=a file of weights of their channels), or dict(layers=) of
        the network of evaluate.extractor. The published LPIPS is that of its own networks and weights alone.

    Raises:
      ValueError: channels that there are not, a negative border, or a network that is not wholly named.
    """
    if channels not in restoration.CHANNELS:
        raise ValueError(f"channels = {channels!r}: accepted are {', '.join(restoration.CHANNELS)}")
    if border != SCALE and (isinstance(border, bool) or not isinstance(border, int) or border < 0):
        raise ValueError(f"border = {border!r}: pixels, 0 or more, or 'scale' are accepted")
    for name, value in {"rounded": rounded, "similarity": similarity, "edges": edges}.items():
        if not isinstance(value, bool):
            raise ValueError(f"{name} = {value!r}: True or False is accepted")
    critic.check("perceptual", perceptual)
    layers = tuple((perceptual or {}).get("layers", ()))
    if perceptual is not None and not layers:
        raise ValueError(f"perceptual = {dict(perceptual)}: layers = (paths of the network's modules) are wanted")
    measures = [Measure("psnr", "PSNR", unit="dB", digits=2, note=_note(channels, border, rounded, similarity))]
    if similarity:
        measures.append(Measure("ssim", "SSIM", digits=4, bounds=(-1.0, 1.0)))
    if perceptual is not None:
        note = f"Perceptual: distance of features of {critic.called(perceptual)}, in the form of LPIPS"
        measures.append(
            Measure("perceptual", higher_is_better=False, digits=4, bounds=(0, None), traded=True, note=note)
        )
    if edges:
        measures.append(
            Measure(
                "edges",
                "gradients' error",
                scale=255.0,
                higher_is_better=False,
                digits=2,
                bounds=(0, None),
                column=False,
            )
        )

    def cut(batch, target):
        return border if isinstance(border, int) else _scale(batch["image"], target)

    def sums(apply, variables, batch, key, others):
        made, target = (critic.unit(x, batch.get("pixels")) for x in (apply(variables, batch), batch[TARGET]))
        return restoration.sums(
            made,
            target,
            batch["mask"],
            channels=channels,
            border=cut(batch, target),
            rounded=rounded,
            similarity=similarity,
            edges=edges,
        )

    def psnr(made, target, given):
        compared = lambda image: restoration.compared(
            image, channels=channels, border=cut({"image": given}, target), rounded=rounded
        )
        return restoration.psnr(compared(made), compared(target))

    def pictures(setting, judged):
        return _pictures(setting, judged, psnr)

    def summarise(sums):
        return {name: float(value) for name, value in restoration.summarise(sums).items()}

    def compare_by(network):
        def compare(variables, made, batch, linear):
            of_made, wanted = (network.features(variables, x, layers) for x in (made, batch[TARGET]))
            first, second = ([features[path] for path in layers] for features in (of_made, wanted))
            return {"perceptual": distance(first, second, linear)}

        return compare

    def measure(setting, judged, split):
        network, linear = critic.of(setting, perceptual, TARGET), critic.linear(perceptual, layers)
        key = "perceptual", layers
        return critic.total(setting, judged, split, network, compare_by(network), key, linear)

    def looks(network, fields):
        target = critic.images_of(fields[TARGET])
        try:
            linear = critic.linear(perceptual, layers)
        except (ValueError, OSError) as error:
            return " ".join(str(error).split())
        compare = lambda variables, target, linear: compare_by(network)(variables, target, {TARGET: target}, linear)
        return critic.tried(compare, network.variables, target, linear)

    def fits(output, fields):
        reason = _fits(output, fields)
        if reason is not None or perceptual is None:
            return reason
        try:
            critic.linear(perceptual, layers)
        except (ValueError, OSError) as error:
            return " ".join(str(error).split())
        return critic.problem(perceptual, fields[TARGET], fields, looks)

    return Evaluator(
        *measures, sums=sums, summarise=summarise, measure=None if perceptual is None else measure, fits=fits,
        critic=perceptual is not None and critic.is_of_run(perceptual), looks=None if perceptual is None else looks,
        pictures=pictures, gives="images",
    )  # fmt: skip


def _scale(given: Any, target: Any) -> int:
    """Sides of the target over those of what is given; 0 where both have one size."""
    scale = target.shape[1] // given.shape[1]
    return scale if scale > 1 else 0


def _note(channels: str, border: int | str, rounded: bool, similarity: bool) -> str:
    parts = ["on the luma"] if channels == "luma" else []
    parts += ["rounded to 8 bits"] if rounded else []
    if border == SCALE:
        parts.append("without as many pixels on every side as the scale")
    elif border:
        parts.append(f"without {border} pixels on every side")
    return f"PSNR{' and SSIM' if similarity else ''}: {', '.join(parts)}" if parts else ""


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


def _pictures(setting: Setting, judged: Judged, psnr: Callable[[Any, Any, Any], jax.Array]) -> list[Figure]:
    """What it is given, what it makes of it, and what is true: a window of each of the first images of the test split.

    `psnr(made, true, given)` is that of whole images, in [0, 1], as the table has it.
    """
    if judged.forward is None or "image" not in setting.fields:
        return []
    as_bytes = lambda images: np.round(255 * np.clip(np.asarray(images), 0, 1)).astype(np.uint8)
    shown: list[tuple[np.ndarray, ...]] = []
    values: list[float] = []
    for batch in setting.splits.batches("test"):
        rows = np.flatnonzero(np.asarray(batch["mask"]))[: SHOWN - len(shown)]
        seen = setting.see(batch)
        images = (seen["image"], judged.forward(judged.variables, batch), seen[TARGET])
        given, made, target = (critic.unit(image, setting.pixels)[rows] for image in images)
        values += [float(value) for value in psnr(made, target, given)]
        shown += zip(as_bytes(given), as_bytes(made), np.asarray(batch[TARGET])[rows], strict=True)
        if len(shown) == SHOWN:
            break
    side = min(WINDOW, *(min(target.shape[:2]) for _, _, target in shown))
    crops = []
    for given, made, target in shown:
        top, left = _window(target, side)
        window = lambda image: image[top : top + side, left : left + side]  # noqa: B023  # used at once
        crops.append([window(_shaped(given[None], target.shape)[0]), window(made), window(target)])
    given, made, target = (np.stack(images) for images in zip(*crops, strict=True))
    return [restored("Restored images", made, given, target, values=values, unit="dB")]


def _window(image: np.ndarray, side: int) -> tuple[int, int]:
    """Where a square of an image begins in which neighbours differ most, of those half a side apart."""
    grey = image.astype(np.float64).mean(-1)
    change = np.zeros(grey.shape)
    change[1:] += np.abs(np.diff(grey, axis=0))
    change[:, 1:] += np.abs(np.diff(grey, axis=1))
    whole = np.pad(change.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    step = max(1, side // 2)
    places = [(top, left) for top in range(0, grey.shape[0] - side + 1, step)
              for left in range(0, grey.shape[1] - side + 1, step)]  # fmt: skip
    inside = lambda at: (
        whole[at[0] + side, at[1] + side] - whole[at[0], at[1] + side] - whole[at[0] + side, at[1]] + whole[at]
    )
    return max(places, key=inside)


def _shaped(images: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Images [n, h, w, c] in the sides and channels of others: each pixel repeated or left out; grey in every channel."""
    rows, columns = (np.arange(side) * images.shape[axis] // side for axis, side in ((1, shape[0]), (2, shape[1])))
    sized = images[:, rows][:, :, columns]
    return np.broadcast_to(sized[..., :1], (*sized.shape[:3], shape[2])) if sized.shape[3] != shape[2] else sized
