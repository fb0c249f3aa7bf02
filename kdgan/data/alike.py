"""Which fields of images an augmentation changes, and changes alike: an image and its target."""

from collections.abc import Mapping
from typing import Any

from kdgan.data.fields import IMAGE, TARGET, Field
from kdgan.data.windows import is_window

_MOVES = ("affine", "crop", "flip", "turn")  # what lies where in an image
_BY_PIXELS = ("crop", "cutout", "cutmix", "mixup")  # what they draw, or mix, depends on the size


def by_field(
    spec: Mapping[str, Any], fields: Mapping[str, Field], *, together: bool = False
) -> dict[str, dict[str, Any]]:
    """The spec of each field of images, for `make_augment` and `make_mix`, which draw the same for the same key and place.

    An augmentation changes the fields that it names, `{"flip": {"fields": ("image", "target")}}`; without `fields` the
    only field of images that there is. Windows (`windows.py`) of fields of several sizes are cut alike by themselves.

    Args:
        spec: see `make_augment`.
        fields: of the data set.
        together: whether an augmentation without `fields` changes all fields of images alike, where there are several.

    Raises:
        ValueError: for a field that there is not, or that holds no images; several fields of images of which none is
            named; images of several sizes where an augmentation counts in pixels; with `together` an image that is moved
            without its target, or the target without it.
    """
    parts: dict[str, dict[str, Any]] = {name: {} for name, field in fields.items() if field.kind == "image"}
    for name, settings in spec.items():
        if not isinstance(settings, Mapping):  # off, or refused by `make_augment`
            parts |= {field: {**part, name: settings} for field, part in parts.items()}
            continue
        where = f"augment.{name}.fields"
        given = settings.get("fields") or ()
        chosen = (given,) if isinstance(given, str) else tuple(given)
        if not parts:
            raise ValueError(f"augment.{name} changes images; the data have none: their fields are {', '.join(fields)}")
        for field in chosen:
            if field not in parts:
                what = f"holds {fields[field]}, no images" if field in fields else "is no field of the data"
                raise ValueError(f"{where}: {field!r} {what}; fields of images are {', '.join(parts)}")
        if not chosen and len(parts) > 1 and not together:
            raise ValueError(
                f"{where} is missing: the data have several fields of images, {', '.join(parts)}; name those to change alike"
            )
        chosen = chosen or tuple(parts)
        if together and name in _MOVES and len({IMAGE, TARGET} & set(chosen)) == 1:
            raise ValueError(
                f"{where} = {chosen}: {IMAGE!r} and {TARGET!r}, of which data.degrade makes one of the other, are changed"
                " alike; name both, or leave fields out"
            )
        counts_pixels = name in _BY_PIXELS and not (name == "crop" and is_window(settings))
        if counts_pixels and len({fields[field].shape[:2] for field in chosen}) > 1:
            sizes = ", ".join(f"{field} {fields[field].shape[:2]}" for field in chosen)
            raise ValueError(
                f"{where} = {chosen}: only images of one size are changed alike in pixels; (h, w) are {sizes}"
            )
        settings = {key: value for key, value in settings.items() if key != "fields"}
        parts |= {field: {**parts[field], name: settings} for field in chosen}
    return parts
