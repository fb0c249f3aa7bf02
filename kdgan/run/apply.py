"""`--mode=apply`: a trained player on files, a photograph or a folder of them; each is written whole or not at all."""

import dataclasses
import functools
import itertools
import numbers
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from kdgan import files
from kdgan.data import picture_files
from kdgan.data.images import SUFFIXES, reason
from kdgan.data.picture_files import FORMATS, UNREADABLE, Canvas, Picture
from kdgan.data.tree import Tree, scan, skipped, some
from kdgan.run.config import ConfigError
from kdgan.run.progress import Progress
from kdgan.tiling import Plan, Tiler

COLOURS = ("luma", "channels", "grey")
NAMED = 3  # of the files that could not be made


@runtime_checkable
class Restores(Protocol):
    """What is asked of a player: `kdgan.run.restoring.Restorer` is one."""

    @property
    def channels(self) -> int: ...

    def tiler(self, style: Any) -> Tiler: ...

    def plan(self, size: tuple[int, int], *, tile: int | None = None, style: Any = None) -> Plan: ...


class Job(NamedTuple):
    """A file that is to be made of another."""

    source: pathlib.Path
    target: pathlib.Path


class Listed(NamedTuple):
    """What is to be made.

    Attributes:
      jobs: the files.
      notes: what of a folder is passed by.
      closed: folders that may not be listed.
    """

    jobs: list[Job]
    notes: Sequence[str] = ()
    closed: Sequence[pathlib.Path] = ()


def apply(
    restorer: Restores, source: str | pathlib.Path, target: str | pathlib.Path, *, style: Any, tile: int | None,
    colour: str, overwrite: bool, progress: Progress,
) -> tuple[pathlib.Path, ...]:  # fmt: skip
    """The files that are written; see `kdgan.run.restoring.Restorer.apply`."""
    if colour not in COLOURS:
        raise ConfigError(f"colour = {colour!r}: accepted are {', '.join(COLOURS)}")
    if tile is not None and not is_side(tile):
        raise ConfigError(f"--tile={tile}: pixels of a side, a whole number of at least 1, are accepted")
    try:
        restorer.tiler(style)
        inputs, outputs = files.folder(source), files.folder(target)
        is_folder = inputs.is_dir()
        if is_folder:
            jobs, notes, closed = _of_folder(inputs, outputs)
        else:
            jobs, notes, closed = Listed([_of_file(inputs, outputs, str(target))])
    except ValueError as error:
        raise error if isinstance(error, ConfigError) else ConfigError(str(error)) from error
    for note in notes:
        progress.say(note)
    there = [] if overwrite else [job for job in jobs if os.path.exists(job.target)]
    if there and not is_folder:
        raise ConfigError(f"--output={jobs[0].target} is there; another name, or --overwrite, is accepted")
    if there:
        progress.say(f"{len(there)} of {len(jobs)} files are there and left as they are; --overwrite makes them again")
    written, failed = [], [f"{folder}: a folder that may not be listed" for folder in closed]
    left = {job.target for job in there}
    if is_folder:
        progress.start(inputs.name, len(jobs), len(there))
    try:
        for job in (job for job in jobs if job.target not in left):
            try:
                notes = _make(restorer, job, style, tile, colour, progress, counts_tiles=not is_folder)
                written.append(job.target)
                for note in notes:
                    progress.say(f"{job.source}: {note}")
            except (*UNREADABLE, MemoryError) as error:
                failed.append(f"{job.source}: {reason(error)}")
                if is_folder:
                    progress.say(f"left out {failed[-1]}")
            if is_folder:
                progress.advance(1)
    finally:
        progress.end()
    if failed and not is_folder:
        raise ConfigError(failed[0])
    if failed:
        raise ConfigError(
            f"{len(failed)} of {len(jobs) + len(closed)} files could not be made, the others are written:"
            f" {some(failed, NAMED, '; ')}"
        )
    return tuple(written)


def _of_file(source: pathlib.Path, target: pathlib.Path, given: str) -> Job:
    """The one file that is made of a file.

    Raises:
      ConfigError: there is no such file, its name says no format, or it would replace its source.
    """
    if not source.exists():
        raise ConfigError(f"--input={source}: there is no such file or folder")
    if target.is_dir() or given.endswith("/"):
        target = target / f"{source.stem}.png"
    if target.suffix.lower() not in FORMATS:
        raise ConfigError(f"--output={target}: a name that ends in {', '.join(FORMATS)}, or a folder, is accepted")
    if target.exists() and target.samefile(source):
        raise ConfigError(f"--output={target} is the input itself; another name is accepted")
    return Job(source, target)


def is_side(tile: Any) -> bool:
    """Whether a tile's side is a whole number of at least 1."""
    return isinstance(tile, numbers.Integral) and not isinstance(tile, bool) and int(tile) >= 1


def _of_folder(source: pathlib.Path, target: pathlib.Path) -> Listed:
    """The files that are made of a folder's images, at the same places below `target`, as PNG.

    Images that differ in their suffix alone keep it: a.jpg.png, a.tif.png. Hidden and system files and folders are passed
    by, as in data sets.

    Raises:
      ConfigError: there is no image; `target` is a file or the same folder; a file would replace an image that is read.
    """
    if target.is_file():
        raise ConfigError(f"--output={target} is a file, and --input={source} a folder; a folder is accepted")
    if target.exists() and target.samefile(source):
        raise ConfigError(f"--output={target} is the folder of the inputs; another one is accepted")
    tree = scan(source)
    names, closed = sorted(_images(tree, source, target)), [source / name for name in tree.closed]
    notes = skipped([dataclasses.replace(tree, closed=[])], loose=False)
    if closed and not names:
        raise ConfigError(f"--input={source} has no images; {closed[0]} may not be listed")
    if not names:
        why = "".join(f"; {note}" for note in notes)
        raise ConfigError(
            f"--input={source} has no images; files that end in {', '.join(sorted(SUFFIXES))} are read{why}"
        )
    same: dict[str, int] = {}
    for name in names:
        same[_key(name)] = same.get(_key(name), 0) + 1
    jobs, taken = [], set()
    for name in names:
        made = name.with_suffix(".png") if same[_key(name)] == 1 else name.with_name(f"{name.name}.png")
        while str(made).lower() in taken:  # of a.jpg, a.tif and a.jpg.webp
            made = made.with_name(f"{made.stem}_.png")
        taken.add(str(made).lower())
        jobs.append(Job(source / name, target / made))
    _check_kept(jobs)
    return Listed(jobs, notes, closed)


def _key(name: pathlib.Path) -> str:
    """What is the same of names that would be written to one file, on file systems that ignore case, too."""
    return str(name.with_suffix("")).lower()


def _images(tree: Tree, source: pathlib.Path, target: pathlib.Path) -> Iterator[pathlib.Path]:
    """The images of a folder, relative to it, but those of `target` where that lies in it."""

    @functools.cache
    def is_made(folder: pathlib.Path) -> bool:
        return folder.name != "" and ((source / folder).samefile(target) or is_made(folder.parent))

    for name in map(pathlib.Path, (*tree.loose, *itertools.chain(*tree.classes.values()))):
        if not (target.exists() and is_made(name.parent)):
            yield name


def _check_kept(jobs: Sequence[Job]) -> None:
    """No file is written over an image that is read: by a link, or into a folder that holds them.

    Raises:
      ConfigError: one is.
    """
    identity = lambda path: (path.stat().st_dev, path.stat().st_ino)
    sources = {identity(job.source): job.source for job in jobs if job.source.exists()}
    for job in jobs:
        if os.path.exists(job.target) and identity(job.target) in sources:
            raise ConfigError(
                f"--output: {job.target}, made of {job.source}, would replace the input {sources[identity(job.target)]};"
                " another folder is accepted"
            )


def _make(
    restorer: Restores, job: Job, style: Any, tile: int | None, colour: str, progress: Progress, *, counts_tiles: bool
) -> list[str]:
    """Write one file; what should be said about it.

    Raises:
      One of UNREADABLE: the image cannot be read, or not restored.
    """
    picture = picture_files.read(job.source)
    suffix = job.target.suffix.lower()
    form = FORMATS[suffix]
    height, width = picture.pixels.shape[:2]
    plan = restorer.plan((height, width), tile=tile, style=style)
    planes = _planes(picture, restorer.channels, colour)
    if counts_tiles:
        progress.start(job.source.name, plan.tiles * len(planes.given), 0)
    advance = progress.advance if counts_tiles else lambda count: None
    made, notes = [], []
    for given in planes.given:
        sixteen = given.dtype == np.uint16
        keeps = sixteen and form.sixteen
        canvas = None
        read = lambda rows, columns, given=given, sixteen=sixteen: (
            given[rows, columns].astype(np.float32) / 65535 if sixteen else given[rows, columns]
        )
        for rows, columns, block in restorer.tiler(style).blocks(
            plan, read, np.float32 if keeps else np.uint8, advance
        ):
            channels = block.shape[-1]
            if channels not in (1, 3):
                raise ValueError(f"the player makes images of {channels} channels; a file holds 1 or 3")
            keeps = keeps and channels == 1
            if block.dtype != np.uint8:
                block = np.round(block * 65535).astype(np.uint16) if keeps else np.round(block * 255).astype(np.uint8)
            canvas = canvas or Canvas(plan.size, channels, np.uint16 if keeps else np.uint8)
            canvas.put(rows, columns, block)
        assert canvas is not None
        made.append(canvas.image())
        if sixteen and not keeps:
            why = "a PNG or TIFF keeps them" if not form.sixteen else "the player makes colours, which have 8"
            notes.append(f"its 16 bits are written as 8; {why}")
    image = planes.joined(made, plan.scale)
    opacity = None if picture.opacity is None else picture_files.enlarged(picture.opacity, plan.scale)
    if opacity is not None and not form.opacity:
        notes.append(f"its opacity is dropped, {suffix} has none")
    profile = picture.profile
    if profile and not (form.profile and picture_files.fits(profile, image)):
        why = f"{suffix} has none"
        if form.profile:
            why = f"it is of other colours than the {'RGB' if image.mode == 'RGB' else 'grey'} that is written"
        notes.append(f"its colour profile is dropped, {why}")
        profile = None
    data = picture_files.write(image, suffix, opacity=opacity, profile=profile)
    files.write_atomic(job.target, data)
    return notes


class _Planes(NamedTuple):
    """What a player is given of a picture, one image or several, and how its output is made of what comes of them."""

    given: list[np.ndarray]
    joined: Callable[[list[Any], int], Any]


def _planes(picture: Picture, channels: int, colour: str) -> _Planes:
    """Of a picture for a player of so many channels."""
    from PIL import Image

    pixels = picture.pixels
    alone = lambda given: _Planes([given], lambda made, scale: made[0])
    if pixels.shape[-1] == channels:
        return alone(pixels)
    if channels == 3:
        return alone(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))
    if channels != 1:
        raise ValueError(f"the player takes images of {channels} channels; a photograph has 1 or 3")
    whole = Image.fromarray(pixels)
    if colour == "grey":
        return alone(np.asarray(whole.convert("L"))[..., None])
    mode = {"luma": "YCbCr", "channels": "RGB"}[colour]
    planes = [np.asarray(plane)[..., None] for plane in whole.convert(mode).split()]
    if colour == "channels":
        return _Planes(planes, lambda made, scale: Image.merge(mode, _grey(made)))

    def with_colours(made: list[Any], scale: int) -> Any:
        chroma = [Image.fromarray(picture_files.enlarged(plane[..., 0], scale)) for plane in planes[1:]]
        return Image.merge(mode, [*_grey(made), *chroma]).convert("RGB")

    return _Planes(planes[:1], with_colours)


def _grey(made: list[Any]) -> list[Any]:
    """Raises ValueError: what is made has colours."""
    if any(image.mode != "L" for image in made):
        raise ValueError("the player makes colours of a grey image; --colour=grey is accepted")
    return made
