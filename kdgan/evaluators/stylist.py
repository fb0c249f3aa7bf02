"""A network of style transfer: judged by the distances of content and style that it was trained for, and by its teacher.

A distance of content alone is least where nothing is painted, and one of style alone where the style image is copied; what
arms are compared by is their sum, with a weight.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdgan import parallel
from kdgan.data.fields import IMAGE
from kdgan.evaluators import critic
from kdgan.evaluators.evaluator import Evaluator, Judged, Measure, Setting
from kdgan.evaluators.figures import Figure, restored
from kdgan.game import call_module
from kdgan.losses.features import feature_l2
from kdgan.losses.style import grams
from kdgan.losses.style import style as style_distance
from kdgan.metrics import restoration
from kdgan.models import style_images

TEACHER = "teacher"
SHOWN = 4  # images of the test split in a report
SIDE = 192  # pixels a side of what is shown of each, at most


def stylist(
    *, images: str | Sequence[str], content: Sequence[str], style: Sequence[str], size: int = 256, weight: float = 1.0,
    styles: int = 1, channels: int = 3, network: Mapping[str, Any] | None = None,
) -> Evaluator:  # fmt: skip
    """Content and style distance by features of a network, and PSNR of what is made to what the teacher makes.

    Of each image `content` is the mean squared difference of features to those of the image over the mean square of these:
    0 where nothing is painted. `style` is the squared distance of Gram matrices to those of the style image over that of the
    image itself: 1 where nothing is painted, 0 where the style is met. Both are the terms of the method `style` freed of the
    scale that a network's features have. `objective` is content + weight·style.

    Args:
      images: of the styles, as the model `style_images` takes them.
      content: paths of the network's features.
      style: likewise.
      size: to which style images are scaled.
      weight: of style in the objective.
      styles: how many the player has; of more than one each test image is painted in each, and the distances are means. The
        player is given a style as its argument `style`, a class [b]. The agreement is of what it paints where none is given.
      channels: of the images: 3, or 1 for grey.
      network: dict(model=, weights=, model_args=); None: the network of evaluate.extractor.

    Raises:
      ValueError: no layers, or numbers that do not go together.
    """
    critic.check("network", network)
    content, style = critic.paths("content", content), critic.paths("style", style)
    if not content or not style:
        raise ValueError(f"content = {content}, style = {style}: paths of the network's features are wanted")
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not weight > 0:
        raise ValueError(f"weight = {weight!r}: a positive number is accepted")
    names = style_images.names_of(images)
    if len(names) != styles:
        raise ValueError(f"styles = {styles}: images names {len(names)}; one for each style is accepted")
    # Read where they are needed: a trained player is taken out without them.
    paintings = functools.cache(lambda: style_images.build(names, size, channels))
    layers = tuple(dict.fromkeys((*content, *style)))

    def sums(apply, variables, batch, key, others):
        if TEACHER not in others:
            return {"count": jnp.sum(batch["mask"] != 0, dtype=jnp.int32)}
        made, wanted = (critic.unit(x, batch.get("pixels")) for x in (apply(variables, batch), others[TEACHER](batch)))
        return restoration.sums(made, wanted, batch["mask"], similarity=False)

    def summarise(sums):
        return {"teacher_psnr": float(sums["psnr"] / sums["count"])} if "psnr" in sums else {}

    def targets_of(network):
        def targets(variables, pictures):
            seen = network.features(variables, pictures, style)
            return grams([seen[path] for path in style])

        return targets

    def compare_by(network):
        def compare(variables, made, batch, matrices):
            of_made = network.features(variables, made, layers)
            image = network.features(variables, batch["image"], layers)
            of = lambda features, paths: [features[path] for path in paths]
            seen = of(image, content)
            return {
                "content": feature_l2(of(of_made, content), seen) / feature_l2(seen, [0 * feature for feature in seen]),
                "style": style_distance(of(of_made, style), matrices) / style_distance(of(image, style), matrices),
            }

        return compare

    def measure(setting, judged, split):
        known = critic.of(setting, network, IMAGE)
        matrices = targets_of(known)(known.variables, jnp.asarray(paintings().pixels, jnp.float32) / 255)
        parts = []
        for i in range(styles):
            chosen = judged if styles == 1 else _in_style(setting, judged, i)
            of_style = [matrix[i : i + 1] for matrix in matrices]
            key = "stylist", content, style
            parts.append(critic.total(setting, chosen, split, known, compare_by(known), key, of_style))
        means = {name: float(np.mean([part[name] for part in parts])) for name in parts[0]}
        return {"objective": means["content"] + weight * means["style"], **means}

    def looks(known, fields):
        image = critic.images_of(fields[IMAGE])
        pictures = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)

        def distances(variables, image, pictures):
            return compare_by(known)(variables, image, {IMAGE: image}, targets_of(known)(variables, pictures))

        return critic.tried(distances, known.variables, image, pictures)

    def fits(output, fields):
        image = fields.get(IMAGE)
        shape = tuple(getattr(output, "shape", ()))
        if image is None or image.kind != "image" or shape[-1:] != image.shape[-1:] or shape[-1] != channels:
            return (
                f"a stylist makes images of {channels} channels of the field 'image'; its output is {shape or 'none'}"
            )
        try:
            paintings()
        except ValueError as error:
            return str(error)
        return critic.problem(network, image, fields, looks)

    return Evaluator(
        Measure("objective", f"content + {weight:g}·style", higher_is_better=False, digits=3, bounds=(0, None)),
        Measure("content", "content", higher_is_better=False, digits=3, bounds=(0, None)),
        Measure("style", "style", higher_is_better=False, digits=3, bounds=(0, None), note=_SCALE),
        Measure("teacher_psnr", "PSNR to teacher", unit="dB", digits=2, note=_NOTE),
        sums=sums, summarise=summarise, others=(TEACHER,), measure=measure, fits=fits,
        critic=critic.is_of_run(network), looks=looks, pictures=_pictures, gives="images",
    )  # fmt: skip


_SCALE = "Content: over the features of the image; style: over the distance that the unpainted image has, which is 1"
_NOTE = "PSNR to teacher: of what a player makes of test images to what its teacher makes of them"


def _in_style(setting: Setting, judged: Judged, style: int) -> Judged:
    """The player as it paints in one of its styles."""
    module, key = judged.module, ("painted", judged.module)
    if key not in setting.memo:

        def paint(variables, image, style):
            known = {"params": variables["params"], **variables.get("model_state", {})}
            return call_module(module, known, image, train=False, style=jnp.full(len(image), style))[0]

        setting.memo[key] = parallel.compiled(paint)
    forward = lambda variables, batch: setting.memo[key](variables, setting.see(batch)["image"], jnp.int32(style))
    return dataclasses.replace(judged, forward=forward)


def _pictures(setting: Setting, judged: Judged) -> list[Figure]:
    """The first images of the test split, and what it makes of them: their middle."""
    if judged.forward is None:
        return []
    shown: list[tuple[np.ndarray, np.ndarray]] = []
    for batch in setting.splits.batches("test"):
        rows = np.flatnonzero(np.asarray(batch["mask"]))[: SHOWN - len(shown)]
        made = np.asarray(jnp.clip(critic.unit(judged.forward(judged.variables, batch), setting.pixels), 0, 1))
        made = np.round(255 * made).astype(np.uint8)
        shown += [(np.asarray(batch["image"])[row], made[row]) for row in rows]
        if len(shown) == SHOWN:
            break
    side = min(SIDE, *(min(image.shape[:2]) for image, _ in shown))
    middle = lambda image: image[tuple(slice((n - side) // 2, (n - side) // 2 + side) for n in image.shape[:2])]
    given, made = (np.stack([middle(image) for image in images]) for images in zip(*shown, strict=True))
    return [restored("Painted images", made, given)]
