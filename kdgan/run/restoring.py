"""A trained player that makes an image of an image, on photographs of any size: in Python, and on files.

restore = kdgan.run.load("runs/denoise", player="student", arm="teacher")
image = restore(noisy)                                  # uint8 [h, w, c] -> uint8 [s·h, s·w, d]; or floats in [0, 1]
restore.apply("photographs", "restored")                # a file, or a folder of them
"""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from kdgan.around import innermost
from kdgan.export import Artefact
from kdgan.models.instance_norm import moments_at_once
from kdgan.reach import CLOSE, CannotTileError
from kdgan.run import apply as applying
from kdgan.run import build, exportables, trained
from kdgan.run.config import ConfigError
from kdgan.run.progress import Progress, Silent
from kdgan.run.totals import make_apply
from kdgan.tiling import Tiler

WANTED = trained.Wanted("player that makes an image of an image", trained.restores, one_arm=True)
LEAST, MOST = -1.0, 2.0  # of floating-point pixels: noise may leave [0, 1]
IN_BFLOAT16 = 2e-2  # of the largest output, what rounding may change there

Style = int | Sequence[float] | None


@dataclasses.dataclass(frozen=True, eq=False)
class Restorer:
    """`restore(image) -> image` of a trained player, whole images of any size: large ones in tiles, equal to one pass.

    Attributes:
      about: which player of the run it is: its stage, arm, seed and step.
      channels: of the images that it takes.
    """

    about: str
    channels: int
    _tiler: Tiler = dataclasses.field(repr=False)
    _trained: trained.Trained = dataclasses.field(repr=False)
    _parameters: str = dataclasses.field(repr=False)

    def __call__(self, image: Any, *, style: Style = None, tile: int | None = None) -> np.ndarray:
        """What the player makes of an image, [s·h, s·w, d].

        Args:
          image: [h, w, c] or several of one size [n, h, w, c]: uint8, which gives uint8; or floating point, pixels in
            [0, 1], which noise may leave, which gives float32 in [0, 1].
          style: of a player of several styles a class, or a weight for each; by default what the player itself paints
            where it is given none, as `Johnson.style` says.
          tile: the longest side of a tile in pixels; chosen by memory by default.

        Raises:
          ValueError: another shape, type or range; an image that the player cannot take, or not in tiles; a style that there
            is not.
        """
        array = np.asarray(image)
        if array.ndim not in (3, 4) or array.shape[-1] != self.channels or not array.size:
            raise ValueError(
                f"an image has shape {list(array.shape)}; [h, w, {self.channels}] or [n, h, w, {self.channels}] is accepted"
            )
        if array.ndim == 4:
            return np.stack([self(one, style=style, tile=tile) for one in array])
        if array.dtype != np.uint8:
            if array.dtype.kind != "f":
                raise ValueError(f"an image is {array.dtype}; uint8, or floating point in [0, 1], is accepted")
            if not LEAST <= array.min() <= array.max() <= MOST:  # NaN is neither
                raise ValueError(
                    f"an image has values {array.min():g}..{array.max():g}; floating-point pixels lie in [0, 1], or, with"
                    f" noise, in [{LEAST:g}, {MOST:g}]"
                )
            array = array.astype(np.float32)
        dtype = np.dtype(np.uint8 if array.dtype == np.uint8 else np.float32)
        tiler = self.tiler(style)
        plan = self.plan((array.shape[0], array.shape[1]), tile=tile, style=style)
        output = None
        for rows, columns, block in tiler.blocks(plan, lambda rows, columns: array[rows, columns], dtype):
            output = np.empty((*plan.size, block.shape[-1]), dtype) if output is None else output
            output[rows, columns] = block
        assert output is not None
        return output

    def apply(
        self, source: str | pathlib.Path, target: str | pathlib.Path, *, style: Style = None, tile: int | None = None,
        colour: str = "luma", overwrite: bool = False, progress: Progress | None = None,
    ) -> tuple[pathlib.Path, ...]:  # fmt: skip
        """Make a file of a file, or a folder of a folder of images; the files that were written.

        Args:
          source: an image, or a folder, with its sub-folders.
          target: a file, whose suffix says the format; or a folder, for PNG files of the same names.
          style: as in a call.
          tile: likewise.
          colour: what a player of grey images does with colours: "luma" (the luma is restored, its colours are kept),
            "channels" (each channel is restored), "grey" (made grey).
          overwrite: whether files may be replaced; else a file that is there is left, and refused where it is the only one.
          progress: is told how far it is; nothing is printed by default.

        Raises:
          ConfigError: in one line, what cannot be read, made or written. Of a folder everything else is done first.
        """
        return applying.apply(
            self, source, target, style=style, tile=tile, colour=colour, overwrite=overwrite,
            progress=progress or Silent(),
        )  # fmt: skip

    def export(self, path: str | pathlib.Path, **options: Any) -> tuple[Artefact, ...]:
        """Write it as files of other programs: args and errors as `kdgan.run.prediction.Predictor.export`."""
        return exportables.write(self._trained, path, parameters=self._parameters, **options)

    def tiler(self, style: Style) -> Tiler:
        """What runs it in a style.

        Raises:
          ValueError: no such style.
        """
        if style is None:
            return self._tiler
        if self._styles is None:
            raise ValueError(f"style = {style!r}: {self._trained.name} has one style; leave it out")
        return self._tiler.of({**self._tiler.variables, "style": _style(style, self._styles)})

    def plan(self, size: tuple[int, int], *, tile: int | None = None, style: Style = None) -> Any:
        """The tiles of an image of (height, width).

        Raises:
          ValueError: in one line, why it cannot be restored.
        """
        if tile is not None and not applying.is_side(tile):
            raise ValueError(f"tile = {tile!r}: pixels of a side, a whole number of at least 1, are accepted")
        name = self._trained.name
        try:
            return self.tiler(style).plan(size, tile)
        except CannotTileError as error:
            raise ValueError(f"{size[0]}×{size[1]} pixels in tiles: {name} cannot be divided, for {error}") from error
        except (ValueError, TypeError) as error:  # of the module, while it is traced
            raise ValueError(f"{size[0]}×{size[1]} pixels: {name}: {' '.join(str(error).split())}") from error

    @property
    def _styles(self) -> int | None:
        """How many styles its module has, as far as it says it; None: it takes none."""
        return getattr(innermost(self._trained.module), "styles", 0) or None


def _style(style: Style, count: int) -> Any:
    """[1] class or [1, k] weights.

    Raises:
      ValueError: there is no such class, or another number of weights.
    """
    if isinstance(style, int):
        if not 0 <= style < count:
            raise ValueError(f"style = {style}: a class 0 to {count - 1} is accepted")
        return jnp.asarray([style], jnp.int32)
    weights = np.asarray(style, np.float32)
    if weights.shape != (count,) or not np.isfinite(weights).all():
        raise ValueError(f"style = {style!r}: a class 0 to {count - 1}, or {count} weights, are accepted")
    return jnp.asarray(weights)[None]


def style_of(words: Sequence[str] | None) -> Style:
    """A style as a command line has it: "3", or weights.

    Raises:
      ConfigError: these are no numbers.
    """
    if not words:
        return None
    try:
        return int(words[0]) if len(words) == 1 else [float(word) for word in words]
    except ValueError as error:
        raise ConfigError(
            f"--style={','.join(words)}: a class, 3, or a weight for each, 0.5,0.5, is accepted"
        ) from error


def of(player: trained.Trained, parameters: str) -> Restorer:
    """A trained player as a restorer.

    Raises:
      ConfigError: it takes other fields than one image.
    """
    ((name, field), *others) = player.inputs.items()
    if others or field.kind != "image" or field.shape[-1] is None:
        raise ConfigError(
            f"{player.name} takes the fields {', '.join(player.inputs)}; one image is what can be given here"
        )
    compute = build.COMPUTE[player.run.parallel.compute]
    channels, close = int(field.shape[-1]), CLOSE if compute is None else IN_BFLOAT16
    tiler = Tiler(_function(player, compute, name), {"player": player.variables}, channels, close=close)
    return Restorer(f"{player.name}: {player.where}", channels, tiler, player, parameters)


def _function(player: trained.Trained, compute: Any, field: str) -> Callable[[Any, Any], Any]:
    """`function(variables, image in [0, 1]) -> image in [0, 1]`, as the data of its stage are normalised."""
    forward = make_apply(player.module, compute, (field,))
    mean, std = (
        np.asarray(value, np.float32).reshape(1, 1, 1, -1) for value in (player.config.mean, player.config.std)
    )

    def function(variables, image):
        more = {"style": variables["style"]} if "style" in variables else {}
        with nn.intercept_methods(moments_at_once):
            made = forward(variables["player"], (image - mean) / std, **more)
        return made * std + mean if isinstance(made, jax.Array) else made

    return function


def load(
    workdir: str | pathlib.Path, *, player: str | None = None, stage: str | None = None, arm: str | None = None,
    member: int | None = None, average: bool = True, best: bool = False,
) -> Restorer:  # fmt: skip
    """A trained player that makes an image of an image; args and errors as `kdgan.run.load`."""
    chosen = trained.find(
        workdir, WANTED, player=player, stage=stage, arm=arm, member=member, average=average, best=best
    )
    return of(chosen, exportables.kept(chosen, average=average, best=best))
