"""`write`: a player in the formats that are asked for, each file whole or not at all, and beside it what runs it."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kdgan import files
from kdgan.export import int8, litert, onnx, parameters, snippets, stablehlo
from kdgan.export.exportable import Exportable, as_taken, in_order, metadata

SUFFIXES: Mapping[str, str] = {
    "onnx": ".onnx", "stablehlo": ".stablehlo", "litert": ".tflite", "safetensors": ".safetensors", "msgpack": ".msgpack",
    "page": ".html",
}  # fmt: skip
FORMATS = tuple(SUFFIXES)
INT8 = ("onnx", "litert")  # formats that there is int8 of
PROGRAMS = ("onnx", "litert", "stablehlo")  # what `kdgan.export.open` runs
_WITHOUT_METADATA = ("stablehlo", "msgpack")  # what they would hold lies beside them, as JSON

Page = Callable[
    [pathlib.Path, Exportable, Mapping[str, bytes]], Any
]  # (path, player, label of it -> ONNX) writes a page


@dataclasses.dataclass(frozen=True)
class Artefact:
    """One exported file.

    Attributes:
      path: of it; the lines that run it stand in `<path>.py`.
      format: a key of `SUFFIXES`.
      quantised: None, or "int8".
      bytes: its size.
    """

    path: pathlib.Path
    format: str
    quantised: str | None
    bytes: int

    @property
    def is_program(self) -> bool:
        """Whether `kdgan.export.open` runs it."""
        return self.format in PROGRAMS


def write(
    exportable: Exportable, path: str | os.PathLike, *, formats: Sequence[str] | None = None, quantise: str | None = None,
    calibration: Any = None, batch: int | None = None, normalise: bool = True, page: Page | None = None,
) -> tuple[Artefact, ...]:  # fmt: skip
    """Write a player's files. What can be refused is, before anything is converted; no file of a format is half written.

    Args:
      exportable: the player.
      path: a folder, made where it is absent; or, without `formats`, a file, whose suffix says the format.
      formats: of `FORMATS`; without a file's suffix "onnx".
      quantise: "int8": beside the float32 file of each format in `INT8` one of int8.
      calibration: examples that ranges of activations are taken from: arrays [n, ...] by the names of the inputs, or of
        one input its array; images as uint8, or floats in [0, 1]. Never those that it is tested on.
      batch: examples of a call, of a LiteRT file; 1 where nothing is said.
      normalise: whether files take pixels as they are; else (pixel/255 − mean)/std.
      page: what writes the format "page"; without it a page of this player alone.

    Raises:
      ValueError: an unknown format or quantisation; `quantise` without a format that has it, or without calibration;
        `batch` without LiteRT; a page of a player that it does not run, or without onnxruntime-web; a folder that is a
        file; an absent package; a network that a format cannot hold, with the operation.
    """
    target, several = where(path, formats)
    check(several, quantise=quantise, batch=batch)
    if "page" in several:
        _check_page(exportable, normalise)
    if quantise is not None and calibration is None:
        raise ValueError(
            f"quantise = {quantise!r} takes ranges of activations from examples: give calibration=images, of training data"
        )
    examples = None
    if quantise is not None:
        taken = as_taken(exportable, in_order(exportable, calibration), normalise=normalise)
        examples = int8.some(taken)
    options: dict[str, Any] = {"batch": batch or 1, "normalise": normalise}
    made: dict[str, bytes] = {}
    written: list[Artefact] = []

    def keep(format: str, content: bytes, quantised: str | None = None) -> None:
        place = _place(target, exportable.name, format, quantised)
        files.write_atomic(place, content)
        files.write_atomic(f"{place}.py", snippets.text(exportable, place.name, format, **options))
        if format in _WITHOUT_METADATA:
            files.write_json(f"{place}.json", metadata(exportable, normalise=normalise))
        written.append(Artefact(place, format, quantised, len(content)))

    for format in several:
        if format in ("onnx", "page") and "onnx" not in made:
            made["onnx"] = onnx.convert(exportable, normalise=normalise)
        if format in ("onnx", "page") and quantise is not None and "onnx.int8" not in made:
            made["onnx.int8"] = int8.onnx(made["onnx"], tuple(exportable.inputs), examples or ())
        if format == "page":
            place = _place(target, exportable.name, format, None)
            networks = {exportable.name: made["onnx"]}
            networks |= {f"{exportable.name}, int8": made["onnx.int8"]} if quantise is not None else {}
            (page or _page_alone)(place, exportable, networks)
            written.append(Artefact(place, format, None, place.stat().st_size))
            continue
        content = made["onnx"] if format == "onnx" else _converted(exportable, format, options)
        keep(format, content)
        if quantise is not None and format in INT8:
            small = (
                made["onnx.int8"]
                if format == "onnx"
                else int8.litert(content, tuple(exportable.inputs), examples or (), options["batch"])
            )
            keep(format, small, quantise)
    return tuple(written)


def where(path: str | os.PathLike, formats: Sequence[str] | None) -> tuple[pathlib.Path, tuple[str, ...]]:
    """(folder or file, formats): a file where `path` has the suffix of a format and is no folder.

    Raises:
      ValueError: a folder that is a file; a suffix of no format, or of another than those that are named.
    """
    if not os.fspath(path):
        raise ValueError("the name of the folder is empty; a folder, or a new name, is accepted")
    place = files.folder(path)
    by_suffix = {suffix: format for format, suffix in SUFFIXES.items()}
    formats = formats.split(",") if isinstance(formats, str) else formats
    several = None if formats is None else tuple(dict.fromkeys(formats))
    if place.suffix.lower() in by_suffix and not place.is_dir():
        own = by_suffix[place.suffix.lower()]
        if place.stem.endswith(".int8"):
            raise ValueError(
                f"{place.name}: .int8 is added to the name of a file of int8; quantise = 'int8' with"
                f" {place.name.replace('.int8', '')} writes both"
            )
        if several not in (None, (own,)):
            raise ValueError(f"{place} is a file of format {own}; of format {', '.join(several)} name a folder")
        if (among := _file_among(place.parent)) is not None:
            raise ValueError(f"{place}: {among} is a file, and no folder")
        return place, (own,)
    if (among := _file_among(place)) is not None:
        raise ValueError(f"{place}: {among} is a file; a folder, or a new name, is accepted")
    if several is None and place.suffix and not place.is_dir():
        raise ValueError(
            f"{place}: the suffix {place.suffix} is of no format; {', '.join(by_suffix)} are accepted, or a folder"
        )
    return place, ("onnx",) if several is None else several


def check(formats: Sequence[str], *, quantise: str | None = None, batch: int | None = None) -> None:
    """Refuse what does not go together, before anything is loaded.

    Raises:
      ValueError: as `write`.
    """
    if not formats:
        raise ValueError(f"format is empty: {', '.join(FORMATS)} are accepted, one or more")
    unknown = [format for format in formats if format not in FORMATS]
    if unknown:
        raise ValueError(f"format {unknown[0]!r}: {', '.join(FORMATS)} are accepted")
    if quantise not in (None, "int8"):
        raise ValueError(f"quantise = {quantise!r}: 'int8' is accepted, or nothing")
    if quantise is not None and not {*formats} & {*INT8, "page"}:
        raise ValueError(f"quantise = {quantise!r}: {', '.join(formats)} has none; {' and '.join(INT8)} have it")
    if batch is not None and (batch < 1 or "litert" not in formats):
        why = (
            "a whole number of at least 1 is accepted"
            if batch < 1
            else "litert alone has a fixed one, and is not asked for"
        )
        raise ValueError(f"batch = {batch}: {why}")


def _file_among(place: pathlib.Path) -> pathlib.Path | None:
    """The first of a path and what it lies in that exists and is no folder."""
    there = next((one for one in (place, *place.parents) if one.exists()), None)
    return there if there is not None and not there.is_dir() else None


def _place(target: pathlib.Path, name: str, format: str, quantised: str | None) -> pathlib.Path:
    """student.onnx, student.int8.onnx in a folder; of a file `x.onnx` that file, and x.int8.onnx."""
    suffix = SUFFIXES[format]
    single = target.suffix == suffix and not target.is_dir()
    base = target.with_suffix("") if single else target / name
    return base.with_name(base.name + ("" if quantised is None else f".{quantised}") + suffix)


def _converted(exportable: Exportable, format: str, options: Mapping[str, Any]) -> bytes:
    normalise = options["normalise"]
    if format == "litert":
        return litert.convert(exportable, options["batch"], normalise=normalise)
    if format == "stablehlo":
        return stablehlo.convert(exportable, normalise=normalise)
    if format == "safetensors":
        return parameters.safetensors(exportable, normalise=normalise)
    return parameters.msgpack(exportable)


def _check_page(exportable: Exportable, normalise: bool) -> None:
    from kdgan.export import pages

    pages.check(exportable, normalise=normalise)


def _page_alone(path: pathlib.Path, exportable: Exportable, networks: Mapping[str, bytes]) -> None:
    from kdgan.export import pages

    pages.write(path, exportable, networks)
