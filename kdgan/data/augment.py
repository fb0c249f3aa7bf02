"""Augmentation on the device: pure functions of a key and images; `make_augment` and `make_mix` build them from a spec.

Images are floating point `[h, w, c]`. Augment pixels in [0, 1], before the mean is taken away: what comes in from
outside is then 0, black (`fill` sets another value). An example's randomness depends on the step's key and its place in
the whole batch alone, so that the result does not depend on how the batch is split over devices or processes. Of several
fields of images those that an augmentation names in `fields` are changed alike: an image and its target (`alike.py`).
"""

import difflib
import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Float, Int, Key, UInt32

from kdgan.data.windows import pair

KeyArray = Key[Array, ""] | UInt32[Array, "2"]
Augment = Callable[[Array, Array, Array], Array]
Mix = Callable[[Array, Array, Array], tuple[Array, Array]]


def affine_map(
    image: Float[Array, "h w c"],
    *,
    degrees: float | Float[Array, ""] = 0.0,
    shift: tuple[float | Float[Array, ""], float | Float[Array, ""]] = (0.0, 0.0),
    zoom: float | Float[Array, ""] = 1.0,
    fill: float = 0.0,
) -> Float[Array, "h w c"]:
    """The image rotated, zoomed about its centre, then shifted, in one bilinear resampling.

    The value at place u is the old one at c + R(−φ)(u − c − shift)/zoom, with the centre c = ((h−1)/2, (w−1)/2).

    Args:
        image: `[h, w, c]`.
        degrees: φ, counter-clockwise as seen on the screen.
        shift: pixels down and to the right.
        zoom: above 1 magnifies.
        fill: value of what lies outside; it is blended in over the outermost pixel.
    """
    height, width, _ = image.shape
    angle = jnp.deg2rad(jnp.asarray(degrees, image.dtype))
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    rows = (jnp.arange(height, dtype=image.dtype) - (height - 1) / 2 - shift[0])[:, None]
    columns = (jnp.arange(width, dtype=image.dtype) - (width - 1) / 2 - shift[1])[None, :]
    # Rows run downwards, so a counter-clockwise turn on the screen is (row, column) -> (cos·row − sin·column, ...).
    old_rows = (cos * rows + sin * columns) / zoom + (height - 1) / 2
    old_columns = (cos * columns - sin * rows) / zoom + (width - 1) / 2

    def sample(channel: Array) -> Array:
        return map_coordinates(channel, [old_rows, old_columns], order=1, mode="constant", cval=fill)

    return jax.vmap(sample, in_axes=2, out_axes=2)(image)


def affine(
    key: KeyArray,
    image: Float[Array, "h w c"],
    *,
    rotate: float = 0.0,
    shift: float = 0.0,
    zoom: float = 0.0,
    fill: float = 0.0,
) -> Float[Array, "h w c"]:
    """A random `affine_map`: each of the four numbers is uniform in its range.

    Args:
        key: of this example.
        image: `[h, w, c]`.
        rotate: degrees to either side.
        shift: fraction of the height and of the width to either side.
        zoom: the factor lies in [1 − zoom, 1 + zoom].
        fill: see `affine_map`.

    Raises:
        ValueError: for a number outside rotate 0..180, shift 0..1, zoom 0..1 (1 excluded).
    """
    _check("affine", rotate=rotate, shift=shift, zoom=zoom, fill=fill)
    height, width, _ = image.shape
    turn, down, right, scale = jax.random.uniform(key, (4,), image.dtype, -1.0, 1.0)
    offset = (shift * height * down, shift * width * right)
    return affine_map(image, degrees=rotate * turn, shift=offset, zoom=1 + zoom * scale, fill=fill)


def crop(
    key: KeyArray,
    image: Float[Array, "h w c"],
    *,
    padding: int | None = None,
    size: int | tuple[int, int] | None = None,
    mode: str = "constant",
    fill: float = 0.0,
) -> Float[Array, "H W c"]:
    """A random window of the image's own size, or another, out of the image padded on all four sides.

    Args:
        key: of this example.
        image: `[h, w, c]`.
        padding: pixels, at least 1; 4 on CIFAR (He et al. 2016).
        size: (H, W) of the window, or its side; None: the image's.
        mode: "constant" (pads with `fill`), "reflect" or "edge".
        fill: value for "constant".

    Raises:
        ValueError: for padding below 1, or as wide as the image with "reflect"; for an unknown mode; a window that is larger
            than the padded image.
    """
    _check(
        "crop", **{k: v for k, v in {"padding": padding, "size": size}.items() if v is not None}, mode=mode, fill=fill
    )
    margin = padding or 0
    if mode == "reflect" and margin >= min(image.shape[:2]):
        raise ValueError(f"augment.crop.padding = {padding} must be below the image's {image.shape[:2]} to reflect")
    height, width = image.shape[:2] if size is None else pair(size)
    rows, columns = (side + 2 * margin for side in image.shape[:2])
    if height > rows or width > columns:
        raise ValueError(
            f"augment.crop.size = {size}: at most the image's {(rows, columns)} with its padding is accepted"
        )
    around = ((margin, margin), (margin, margin), (0, 0))
    padded = jnp.pad(image, around, constant_values=fill) if mode == "constant" else jnp.pad(image, around, mode=mode)
    free = 2 * margin + 1 if size is None else jnp.array([rows - height + 1, columns - width + 1])
    top, left = jax.random.randint(key, (2,), 0, free)
    return jax.lax.dynamic_slice(padded, (top, left, 0), (height, width, image.shape[2]))


def horizontal_flip(image: Float[Array, "*b h w c"]) -> Float[Array, "*b h w c"]:
    """The image mirrored left to right."""
    return jnp.flip(image, axis=-2)


def flip(key: KeyArray, image: Float[Array, "h w c"], *, probability: float = 0.5) -> Float[Array, "h w c"]:
    """`horizontal_flip` with the given probability.

    Raises:
        ValueError: for a probability outside 0..1.
    """
    _check("flip", probability=probability)
    return jnp.where(jax.random.bernoulli(key, probability), horizontal_flip(image), image)


def turn(key: KeyArray, image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """The image turned counter-clockwise by a quarter turn, times 0 to 3 with equal probability.

    Raises:
        ValueError: the image is no square.
    """
    height, width, _ = image.shape
    if height != width:
        raise ValueError(
            f"augment.turn turns squares, and images, or windows of augment.crop.size, are {(height, width)}"
        )
    quarters = jax.random.randint(key, (), 0, 4)
    side = jnp.arange(height)
    rows, columns = jnp.meshgrid(side, side, indexing="ij")
    # Each pixel is looked up once: of a choice among turned images, a compiler makes what they are made of for each.
    old_rows = jnp.stack([rows, columns, height - 1 - rows, height - 1 - columns])[quarters]
    old_columns = jnp.stack([columns, height - 1 - rows, height - 1 - columns, rows])[quarters]
    return image.reshape(height * width, -1)[old_rows * width + old_columns]


def cutout(key: KeyArray, image: Float[Array, "h w c"], *, size: int, fill: float = 0.0) -> Float[Array, "h w c"]:
    """A square set to `fill`, its centre uniform over the image, cut off at the borders (DeVries and Taylor 2017).

    Args:
        key: of this example.
        image: `[h, w, c]`.
        size: the square's side in pixels, at least 1.
        fill: the value set.

    Raises:
        ValueError: for a size below 1.
    """
    _check("cutout", size=size, fill=fill)
    height, width, _ = image.shape
    row, column = jax.random.randint(key, (2,), 0, jnp.array([height, width]))
    hole = _box(height, width, row - size // 2, row - size // 2 + size, column - size // 2, column - size // 2 + size)
    return jnp.where(hole[..., None], jnp.asarray(fill, image.dtype), image)


def mixup(
    key: KeyArray, image: Float[Array, "b h w c"], label: Float[Array, "b k"], *, alpha: float
) -> tuple[Float[Array, "b h w c"], Float[Array, "b k"]]:
    """Convex mixtures with a random partner, λ·a + (1 − λ)·b, of images and of labels alike (Zhang et al. 2018).

    One λ ~ Beta(α, α) and one permutation for the batch given here. Inside `pmap` that is a device's share: fold the
    device's index into the key, or all devices mix alike. Teacher and student see the same mixture if both are given
    the images returned.

    Args:
        key: of the step.
        image: `[b, h, w, c]`.
        label: probabilities `[b, k]`, e.g. one-hot.
        alpha: α > 0; 0.2 to 1.

    Returns:
        The mixed images and their labels, which sum to 1 as those given did.

    Raises:
        ValueError: for α ≤ 0.
    """
    _check("mixup", alpha=alpha)
    weight_key, partner_key = jax.random.split(key)
    weight = jax.random.beta(weight_key, alpha, alpha, dtype=image.dtype)
    partner = jax.random.permutation(partner_key, image.shape[0])
    mixed = weight * image + (1 - weight) * image[partner]
    weight = weight.astype(label.dtype)
    return mixed, weight * label + (1 - weight) * label[partner]


def cutmix(
    key: KeyArray, image: Float[Array, "b h w c"], label: Float[Array, "b k"], *, alpha: float
) -> tuple[Float[Array, "b h w c"], Float[Array, "b k"]]:
    """A rectangle of each image replaced by that of a random partner, labels mixed by area (Yun et al. 2019).

    The rectangle has sides h·√(1−λ) and w·√(1−λ), λ ~ Beta(α, α), a uniform centre, and is cut off at the borders;
    labels are weighted by the pixels that are really exchanged. One rectangle and one permutation for the batch, as in
    `mixup`.

    Args:
        key: of the step.
        image: `[b, h, w, c]`.
        label: probabilities `[b, k]`.
        alpha: α > 0; 1 in the paper.

    Raises:
        ValueError: for α ≤ 0.
    """
    _check("cutmix", alpha=alpha)
    _, height, width, _ = image.shape
    weight_key, partner_key, centre_key = jax.random.split(key, 3)
    side = jnp.sqrt(1 - jax.random.beta(weight_key, alpha, alpha, dtype=image.dtype))
    partner = jax.random.permutation(partner_key, image.shape[0])
    row, column = jax.random.randint(centre_key, (2,), 0, jnp.array([height, width]))
    high, wide = (side * height).astype(jnp.int32), (side * width).astype(jnp.int32)
    top, left = row - high // 2, column - wide // 2
    inside = _box(height, width, top, top + high, left, left + wide)
    kept = 1 - inside.astype(label.dtype).mean()
    mixed = jnp.where(inside[None, :, :, None], image[partner], image)
    return mixed, kept * label + (1 - kept) * label[partner]


def make_augment(spec: Mapping[str, Any]) -> Augment:
    """The augmentation of a spec such as `{"affine": {"rotate": 15.0, "shift": 0.1}, "crop": {"padding": 4}}`.

    Names are those of the per-example functions here and are applied in the order affine, crop, flip, turn, cutout, whatever
    the order of the mapping; fields are their keyword arguments. `None` turns a name off, as its absence does; an empty
    spec is the identity. "mixup" and "cutmix" may stand in the same spec and are left to `make_mix`.

    Returns:
        `augment(key, positions, image)`: the step's key, the examples' places in the whole batch `[b]` (int; `arange`
        where the batch is in one piece) and floating point images `[b, h, w, c]` to images alike. Pure.

    Raises:
        ValueError: for an unknown name or field (with the nearest valid one), a missing field, a value out of range.
    """
    selected = zip(_EXAMPLE, _select(spec, _EXAMPLE), strict=True)
    chosen = [(_NUMBERS[name], fn, fields) for name, (fn, fields) in selected if fn is not None]

    def one(key: Array, position: Array, image: Array) -> Array:
        own = jax.random.fold_in(key, position)
        for number, fn, fields in chosen:
            # By its fixed number, so that turning one augmentation off leaves the others' draws as they were.
            image = fn(jax.random.fold_in(own, number), image, **fields)
        return image

    def augment(key: KeyArray, positions: Int[Array, " b"], image: Float[Array, "b h w c"]) -> Float[Array, "b H W c"]:
        return jax.vmap(one, in_axes=(None, 0, 0))(key, positions, image) if chosen else image

    return augment


def make_mix(spec: Mapping[str, Any]) -> Mix | None:
    """The mixing of a spec, `mix(key, image [b, h, w, c], label [b, k]) -> (image, label)`, or None where it has none.

    With both "mixup" and "cutmix" each batch takes one of them, with equal probability. The other names are checked and
    left to `make_augment`, which comes first.

    Raises:
        ValueError: as `make_augment`.
    """
    chosen = [(fn, fields) for fn, fields in _select(spec, _BATCH) if fn is not None]
    if not chosen:
        return None

    def mix(
        key: KeyArray, image: Float[Array, "b h w c"], label: Float[Array, "b k"]
    ) -> tuple[Float[Array, "b h w c"], Float[Array, "b k"]]:
        which, own = jax.random.split(key)
        branches = [functools.partial(fn, **fields) for fn, fields in chosen]
        if len(branches) == 1:
            return branches[0](own, image, label)
        return jax.lax.switch(jax.random.randint(which, (), 0, len(branches)), branches, own, image, label)

    return mix


_EXAMPLE: dict[str, Callable[..., Any]] = {
    "affine": affine, "crop": crop, "flip": flip, "turn": turn, "cutout": cutout,
}  # fmt: skip
_NUMBERS = {"affine": 0, "crop": 1, "flip": 2, "cutout": 3, "turn": 4}  # of their keys, in the order in which they came
_BATCH: dict[str, Callable[..., Any]] = {"mixup": mixup, "cutmix": cutmix}

_ACCEPTED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "rotate": (lambda value: 0 <= value <= 180, "degrees in 0..180"),
    "shift": (lambda value: 0 <= value <= 1, "a fraction in 0..1"),
    "zoom": (lambda value: 0 <= value < 1, "a fraction in 0..1 (1 excluded)"),
    "fill": (math.isfinite, "a finite number"),
    "padding": (lambda value: isinstance(value, int) and value >= 1, "a whole number of pixels, at least 1"),
    "mode": (lambda value: value in ("constant", "reflect", "edge"), "'constant', 'reflect' or 'edge'"),
    "probability": (lambda value: 0 <= value <= 1, "a probability in 0..1"),
    "size": (lambda value: isinstance(value, int) and value >= 1, "a whole number of pixels, at least 1"),
    "crop.size": (
        lambda value: min(pair(value)) >= 1,
        "(height, width) of at least 1 pixel, or the side of a square",
    ),
    "alpha": (lambda value: value > 0 and math.isfinite(value), "a number above 0"),
}


def _check(name: str, **fields: Any) -> None:
    for field, value in fields.items():
        accepts, text = _ACCEPTED.get(f"{name}.{field}") or _ACCEPTED[field]
        try:
            fine = not isinstance(value, bool) and accepts(value)
        except (TypeError, ValueError):
            fine = False
        if not fine:
            raise ValueError(f"augment.{name}.{field} must be {text}, got {value!r}")


def _select(
    spec: Mapping[str, Any], wanted: Mapping[str, Callable[..., Any]]
) -> list[tuple[Callable[..., Any] | None, dict[str, Any]]]:
    """(function, fields) for each name of `wanted` in its order, function None where off; the whole spec is checked."""
    known = _EXAMPLE | _BATCH
    for name, fields in spec.items():
        if name not in known:
            raise ValueError(f"augment has no {name!r}{_near(name, known)}; there are {', '.join(known)}")
        if fields is None:
            continue
        if not isinstance(fields, Mapping):
            raise ValueError(f"augment.{name} must be a mapping of its fields (may be empty) or None, got {fields!r}")
        parameters = inspect.signature(known[name]).parameters.values()
        accepted = {one.name: one for one in parameters if one.kind is one.KEYWORD_ONLY}
        for field in fields:
            if field not in (*accepted, "fields"):
                hint = _near(field, accepted)
                raise ValueError(
                    f"augment.{name} has no field {field!r}{hint}; there are {', '.join(accepted)}, fields"
                )
        needed = [field for field, parameter in accepted.items() if parameter.default is parameter.empty]
        needed += ["padding"] if name == "crop" and "size" not in fields else []
        for field in needed:
            if field not in fields:
                raise ValueError(f"augment.{name} needs the field {field!r}: {_ACCEPTED[field][1]}")
        _check(name, **_settings(fields))
    return [(None, {}) if spec.get(name) is None else (fn, _settings(spec[name])) for name, fn in wanted.items()]


def _settings(fields: Mapping[str, Any]) -> dict[str, Any]:
    """An augmentation's arguments, without the names of the fields of the data that it changes."""
    return {name: value for name, value in fields.items() if name != "fields"}


def _near(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _box(height: int, width: int, top: Array, bottom: Array, left: Array, right: Array) -> Array:
    """Bool `[h, w]`, true in rows top..bottom−1 and columns left..right−1."""
    rows, columns = jnp.arange(height)[:, None], jnp.arange(width)[None, :]
    return (rows >= top) & (rows < bottom) & (columns >= left) & (columns < right)
