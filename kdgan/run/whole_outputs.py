"""Outputs of frozen players on whole images, cached for stages that train on windows of them.

A table holds one output for each image and number of its fixed noises, at the place index + noise·n. Of a window of an image
it gives the same window of the output, at its scale; flips and turns are made where the batch is prepared, as the image's
are. So a network sees more of the image around a window than a student that is given the window alone: its output there is
that of the whole image.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from kdgan.data import degrade
from kdgan.data.windows import Windows, is_window
from kdgan.run import batches as run_batches
from kdgan.run import evaluators
from kdgan.run.config import ConfigError
from kdgan.run.inputs import Inputs
from kdgan.run.program import Program
from kdgan.run.schema import Arm
from kdgan.run.totals import make_apply

PIXELS = 2**20  # of the images that a player is given at once

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Whole:
    """A player's outputs on whole images, by their places.

    Attributes:
      places: int64 [n], ascending.
      starts: int64 [n]: where in `outputs` that of each place begins.
      shapes: of each place's output.
      outputs: float32, all of them, one after the other; in memory, or mapped from a file.
      scale: sides of an output / sides of the field in whose pixels windows are given; 0 where it is no image.
    """

    places: np.ndarray
    starts: np.ndarray
    shapes: tuple[Shape, ...]
    outputs: np.ndarray
    scale: int

    def __call__(
        self, places: np.ndarray, origin: np.ndarray | None = None, size: tuple[int, int] | None = None
    ) -> np.ndarray:
        """Outputs [b, ...] of these places [b]: whole, or the windows of `size` (h, w) of the image at `origin` [b, 2].

        Raises:
          LookupError: one of them is not in the table.
        """
        rows = np.minimum(np.searchsorted(self.places, places), len(self.places) - 1)
        if not np.array_equal(self.places[rows], places):
            missing = np.asarray(places)[self.places[rows] != places][0]
            raise LookupError(f"image {missing} is not among the {len(self.places):,} that were computed")
        outputs = []
        for number, row in enumerate(rows):
            shape = self.shapes[row]
            output = self.outputs[self.starts[row] : self.starts[row] + math.prod(shape)].reshape(shape)
            if origin is not None and size is not None:
                (top, left), (height, width) = origin[number] * self.scale, np.multiply(size, self.scale)
                output = output[top : top + height, left : left + width]
            outputs.append(output)
        return np.stack(outputs)


def wants_windows(inputs: Inputs, arm: Arm) -> bool:
    """Whether an arm has its windows cut first for the sake of cached outputs, so that all arms of its stage have."""
    crop = arm.augment.get("crop")
    return bool(arm.cached) and arm.views is None and is_window(crop) and not _others(arm.augment)


def _others(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The augmentations that outputs cannot go through as images do."""
    accepted = (*run_batches.MOVES, *(("crop",) if is_window(spec.get("crop")) else ()))
    return {name: fields for name, fields in spec.items() if fields is not None and name not in accepted}


def check(program: Program, inputs: Inputs, where: str) -> None:
    """Refuse, in one line, what whole outputs cannot stand for.

    Raises:
      ConfigError: features; an augmentation that only views could fix; noise without an end; an output that is no image of
        a multiple of the sides of what it is made of, where images are cut, flipped or turned.
    """
    field = f"{where}.cached = {program.cached}"
    for name in program.cached:
        if paths := tuple(program.features_of(name)):
            raise ConfigError(
                f"{field}: the method asks {name} for the features {', '.join(paths)}, and of whole images its outputs"
                f" alone are kept, of which windows are cut; set {where}.views to the number of fixed forms of each"
                " example"
            )
    if inputs.forms is None:
        raise ConfigError(
            f"{field}: config.data.degrade draws other noise at every step; set config.data.noises to a number of fixed"
            f" noises of each image, or {where}.views to the number of fixed forms of each example"
        )
    if inputs.degradation.function is not None and program.augment.get("crop") is not None:
        raise ConfigError(
            f"{field}: the function {inputs.degradation.name!r} of config.data.degrade is given windows, and its noise on a"
            f" whole image is another; set {where}.views to the number of fixed forms of each example"
        )
    others, moved = _others(program.augment), [n for n, fields in program.augment.items() if fields is not None]
    image_like = all(scale_of(program, name) for name in program.cached)
    if others or (moved and not image_like):
        raise ConfigError(
            f"{field}: {where}.augment = {dict(program.augment)} makes other images at every step; set"
            f" {where}.views to the number of fixed forms of each example, or augment to {{}}"
        )
    cut = _windows(program, inputs)
    for name in program.cached:
        _check_sizes(program, inputs, name, field)
        if moved and image_like:
            _check_moved(program, inputs, name, cut, field, where)


def _windows(program: Program, inputs: Inputs) -> Windows | None:
    """The windows that are cut of whole images."""
    return run_batches.windows_of(inputs, program.augment, program.windows_first)


def _check_moved(program: Program, inputs: Inputs, name: str, cut: Windows | None, field: str, where: str) -> None:
    """What a player is given is cut, flipped and turned as the batch is, as its outputs will be."""
    given, parts = _field(program, inputs, name), run_batches.by_field(inputs, program.augment)
    left = [
        move for move in run_batches.MOVES if program.augment.get(move) is not None and move not in parts.get(given, {})
    ]
    left += ["crop"] if cut is not None and given not in cut.scales else []
    if left:
        raise ConfigError(
            f"{field}: {name} is given the field {given!r}, which {where}.augment.{left[0]} leaves as it is, and its outputs"
            f" are changed with the images; add {given!r} to {where}.augment.{left[0]}.fields"
        )


def scale_of(program: Program, name: str) -> int:
    """Sides of a player's output / sides of its image, both as the step has them; 0 where it makes no image of one."""
    output: Any
    output, given = program.inspection.outputs[name], program.example[_main(program, name)]
    if getattr(output, "ndim", 0) != 4 or getattr(given, "ndim", 0) != 4:  # of another part of the batch, perhaps
        return 0
    scale = output.shape[1] // given.shape[1]
    return scale if output.shape[1:3] == (given.shape[1] * scale, given.shape[2] * scale) else 0


def _main(program: Program, name: str) -> str:
    return program.inputs_of(name)[0]


def _field(program: Program, inputs: Inputs, name: str) -> str:
    """The field of the data that a player is given first, also where it comes under the name of the main input."""
    field = _main(program, name)
    return field if field in inputs.train.fields else inputs.train.inputs[0]


def _check_sizes(program: Program, inputs: Inputs, name: str, field: str) -> None:
    """Whole images give whole outputs of the same scale."""
    scale = scale_of(program, name)
    for sides in dict.fromkeys(image_sides(program, inputs, name)) if scale else ():
        try:
            made = _output_on(program, name, sides).shape[1:3]
        except Exception as error:  # a module of one size, whatever it raises
            said = (str(error).splitlines() or [""])[0]
            raise ConfigError(f"{field}: {name} cannot be given whole images of {sides} pixels: {said}") from error
        if made != (sides[0] * scale, sides[1] * scale):
            raise ConfigError(
                f"{field}: {name} makes {made} of whole images of {sides} pixels; {scale} times their sides are wanted"
            )


def _output_on(program: Program, name: str, sides: Shape) -> Any:
    """The shape of a player's output on one image of these sides."""
    module = program.local_modules[name]
    batch, main = {}, program.example[_main(program, name)]
    for field in program.inputs_of(name):
        leaf = program.example[field]
        own = (side * have // of for side, have, of in zip(sides, leaf.shape[1:3], main.shape[1:3], strict=False))
        shape = (*own, leaf.shape[3]) if leaf.ndim == 4 else leaf.shape[1:]
        batch[field] = jax.ShapeDtypeStruct((1, *shape), leaf.dtype)
    apply = make_apply(module, None, program.inputs_of(name))
    return jax.eval_shape(apply, evaluators.variables_of(module, program.inspection.inputs[name]), batch)


def image_sides(program: Program, inputs: Inputs, name: str) -> list[tuple[int, int]]:
    """(h, w) of each whole training image that a player is given, or of all that have one size once."""
    field = _field(program, inputs, name)
    if inputs.train.fields[field].is_ragged:
        return [image.shape[:2] for image in inputs.train.arrays[field]]
    shape = inputs.train.fields[field].shape
    return [(int(shape[0] or 0), int(shape[1] or 0))]


def shapes(program: Program, inputs: Inputs, name: str, places: np.ndarray) -> list[Shape]:
    """The shapes of a player's outputs at these places."""
    output, scale = program.inspection.outputs[name], scale_of(program, name)
    if not scale:
        return [output.shape[1:]] * len(places)
    sides = image_sides(program, inputs, name)
    of = lambda row: sides[row] if len(sides) > 1 else sides[0]
    rows = (of(int(place % len(inputs.train))) for place in places)
    return [(height * scale, width * scale, *output.shape[3:]) for height, width in rows]


def size(program: Program, inputs: Inputs, name: str, places: np.ndarray) -> int:
    """Bytes of a player's outputs at these places."""
    return 4 * sum(math.prod(shape) for shape in shapes(program, inputs, name, places))


def share(program: Program, inputs: Inputs, name: str) -> float:
    """Pixels of a whole image / those of a window, on average: by how much more operations it takes."""
    if not scale_of(program, name):
        return 1.0
    _, height, width, *_ = program.example[_main(program, name)].shape
    return float(np.mean([h * w for h, w in image_sides(program, inputs, name)])) / (height * width)


def in_order(program: Program, inputs: Inputs, name: str, places: np.ndarray) -> np.ndarray:
    """The numbers of the places in the order in which they are computed: images of one size together."""
    first: dict[Shape, int] = {}
    of = [first.setdefault(shape, len(first)) for shape in shapes(program, inputs, name, places)]
    return np.argsort(of, kind="stable")


def batches(
    program: Program, inputs: Inputs, name: str, places: np.ndarray, batch_size: int
) -> Iterator[tuple[dict[str, Any], int]]:
    """(evaluation batch of whole images with their noise, how many of it count) for these places, in this order."""
    several = shapes(program, inputs, name, places)
    ends = [i for i in range(1, len(places)) if several[i] != several[i - 1]]
    pixels = max(h * w for h, w in image_sides(program, inputs, name)) if scale_of(program, name) else 1
    for group in np.split(places, ends):
        count = min(batch_size, len(group), max(1, PIXELS // pixels))
        for start in range(0, len(group), count):
            chunk = group[start : start + count]
            filled = np.concatenate([chunk, np.repeat(chunk[:1], count - len(chunk))])
            rows, number = filled % len(inputs.train), filled // len(inputs.train)
            raw: dict[str, Any] = inputs.train.examples(rows)
            if inputs.degradation.is_random:
                raw["drawn"] = {"words": degrade.fixed("train", rows, number)[:, None]}
            yield raw, len(chunk)


def table(
    program: Program, inputs: Inputs, name: str, places: np.ndarray, order: np.ndarray, outputs: np.ndarray
) -> Whole:
    """The table of outputs that were computed in this order."""
    computed = shapes(program, inputs, name, places[order])
    lengths = np.array([math.prod(shape) for shape in computed])
    back = np.argsort(order)
    starts = (np.cumsum(lengths) - lengths)[back]
    cut, scale = _windows(program, inputs), scale_of(program, name)
    if cut is not None and scale:
        scale *= cut.scales[_field(program, inputs, name)]
    return Whole(places, starts, tuple(computed[i] for i in back), outputs, scale)
