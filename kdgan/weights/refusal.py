"""What does not fit, in one line: what is missing, left over, or of another shape; the first of each, and the nearest."""

import math
from collections.abc import Mapping, Sequence

from kdgan.weights import conversion
from kdgan.weights.layers import CONV, DENSE, Layer
from kdgan.weights.matching import nearest
from kdgan.weights.state_dict import Stored

NAMED = 5  # of each kind
Shapes = Mapping[str, tuple[int, ...]]


def of_layers(missing: Sequence[Layer], left: Sequence[Stored], last: str, *, scale: int | None = None) -> str:
    """What a state dict's layers lack; "" where they lack nothing.

    Args:
      missing: layers of the module that have none of the file's.
      left: layers of the file that have none of the module's.
      last: name of the module's last dense layer, which counts classes.
      scale: by which the module enlarges images, if it does: scale² channels of a convolution become pixels.
    """
    resized, rest, others = [], [], list(left)
    for layer in missing:
        alike = [one for one in others if conversion.is_of_kind(layer, one.shapes)]
        same_name = [one for one in alike if one.name == layer.name.replace("/", ".")]
        if not alike:
            rest.append(layer)
            continue
        one = (same_name or alike)[0]
        others.remove(one)
        resized.append(_resized(layer, one, is_last=layer.name == last, scale=scale))
    names = [one.name for one in others]
    shown = [
        f"{layer.name} ({_shapes(conversion.expected(layer))})"
        + (nearest(layer.name.replace("/", "."), names) if i < NAMED else "")
        for i, layer in enumerate(rest)
    ]
    return _sentence(resized, shown, [f"{one.name} ({_shapes(one.shapes)})" for one in others])


def _resized(layer: Layer, one: Stored, *, is_last: bool, scale: int | None) -> str:
    wanted, given = conversion.expected(layer), one.shapes
    name = next(name for name in sorted(wanted, reverse=True) if wanted[name] != given[name])
    text = f"{layer.name} wants {list(wanted[name])}, {one.name}.{name} has {list(given[name])}"
    if is_last and layer.kind == DENSE and wanted["weight"][1:] == given["weight"][1:]:
        text += f": {given['weight'][0]} classes there, {wanted['weight'][0]} here"
    if layer.kind == CONV and "weight" in given and wanted["weight"][1:] == given["weight"][1:]:
        text += _scales(given["weight"][0], wanted["weight"][0], scale)
    return text


def _scales(given: int, wanted: int, scale: int | None) -> str:
    """What numbers of channels say of scales: those of scale 3 are 9/4 of those of scale 2."""
    if scale is None or given * scale**2 % wanted:
        return ""
    there = math.isqrt(given * scale**2 // wanted)
    return f": of scale {there} there, {scale} here" if given * scale**2 == there**2 * wanted and there != scale else ""


def of_arrays(given: Shapes, wanted: Shapes, *, scale: int | None = None) -> str:
    """What a tree of Flax's lacks; "" where it has the paths and shapes that are wanted."""
    both = [path for path in wanted if path in given]
    missing, left = [path for path in wanted if path not in given], [path for path in given if path not in wanted]
    kernels = [path for path in wanted if path.endswith("/kernel") and len(wanted[path]) == 2]
    resized = []
    for path in both:
        if tuple(given[path]) == tuple(wanted[path]):
            continue
        text = f"{path} wants {list(wanted[path])}, it has {list(given[path])}"
        if kernels and path == kernels[-1] and given[path][:-1] == wanted[path][:-1]:
            text += f": {given[path][-1]} classes there, {wanted[path][-1]} here"
        if path.endswith("/kernel") and len(wanted[path]) == 4 and given[path][:-1] == wanted[path][:-1]:
            text += _scales(given[path][-1], wanted[path][-1], scale)
        resized.append(text)
    shown = [path + (nearest(path, left) if i < NAMED else "") for i, path in enumerate(missing)]
    return _sentence(resized, shown, left)


def _sentence(resized: Sequence[str], missing: Sequence[str], left: Sequence[str]) -> str:
    parts = {"of another shape": resized, "missing": missing, "left over": left}
    return "; ".join(f"{what}: {_first(items)}" for what, items in parts.items() if items)


def _first(items: Sequence[str]) -> str:
    more = f" and {len(items) - NAMED} more" if len(items) > NAMED else ""
    return ", ".join(items[:NAMED]) + more


def _shapes(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """As "[64, 3, 3, 3]", or "[64] with bias, running_mean, running_var"."""
    if "weight" not in shapes:
        return ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
    others = sorted(name for name in shapes if name != "weight")
    return f"{list(shapes['weight'])}" + (f" with {', '.join(others)}" if others else "")
