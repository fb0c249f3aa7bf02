"""A page that runs the student: one HTML file with onnxruntime-web and ONNX files in it, that loads nothing else.

The page opens from file://. Its Content-Security-Policy runs no script but those of this file, by their digests, and
loads nothing; what a data set brings (class names, titles) is text and never markup. With `#selftest` behind its address it
writes the outputs of its examples into the element `selftest`, by which the tests compare it with JAX.
"""

import base64
import dataclasses
import functools
import gzip
import hashlib
import html
import json
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kdgan import files
from kdgan.data.fields import Field
from kdgan.export import onnxruntime_web
from kdgan.export.pad import pad_of

KINDS = {"classifier": "classifier.js", "tags": "classifier.js", "generator": "generator.js", "images": "images.js"}
OF_ONE_IMAGE = {"probabilities": "classifier", "tags": "tags", "images": "images"}  # output of a file -> kind
FILES = pathlib.Path(__file__).parent / "page_files"
NOISES = 16  # that the page of a generator starts with, and whose images its self-test gives
MOST_EXAMPLES, MOST_BYTES = 48, 3_000_000  # of the examples of a page

# What any page may do: run the scripts with these digests, among them the runtime's module by a blob, and nothing else.
POLICY = (
    "default-src 'none'; script-src {script} blob: 'wasm-unsafe-eval'; style-src {style}; img-src data: blob:;"
    " connect-src 'none'; base-uri 'none'; form-action 'none'"
)


@dataclasses.dataclass(frozen=True, eq=False)
class PageModel:
    """One network of a page.

    Attributes:
      label: what heads its column: "student", "student, int8", "teacher".
      onnx: an ONNX file's bytes. Its first dimension may be a symbol, or 1. Of a classifier uint8 [n, h, w, c] ->
        float32 [n, k], probabilities, of kind "tags" each by itself; of a generator float32 [n, d] (and int32 or int64
        [n], the class) -> images; of kind "images" uint8 [n, h, w, c] -> images. Images that are made are [n, h, w, c],
        floating point in [0, 1] or uint8.
      note: what it is, in a few words; "": nothing.
      latent: d of a generator. One below the largest is given the projection that a run's players share
        (`kdgan.losses.latents.project`).
    """

    label: str
    onnx: bytes
    note: str = ""
    latent: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
    """Images to start from, of the test split.

    Attributes:
      images: uint8 [n, h, w, c]; of kind "images" also a sequence of images [h, w, c] of several sizes.
      labels: the class of each, int [n], or its tags, bool [n, k]; None: not said.
      targets: uint8 [n, h', w', c], or a sequence, what a network of kind "images" should make of them; None: not shown.
    """

    images: np.ndarray | Sequence[np.ndarray]
    labels: np.ndarray | None = None
    targets: np.ndarray | Sequence[np.ndarray] | None = None


def kind_of(name: str, inputs: Mapping[str, Field], output: str) -> str:
    """The kind of page that runs a player: what it takes and what it gives decide.

    Args:
      name: of the player, for the message.
      inputs: its fields, in order; of what makes images of noise they begin with "noise".
      output: what its file gives: a key of `kdgan.export.outputs.OUTPUTS`.

    Raises:
      ValueError: a page runs no such player.
    """
    fields = list(inputs.values())
    if output == "images" and next(iter(inputs), None) == "noise":
        return "generator"
    if [field.kind for field in fields] == ["image"] and output in OF_ONE_IMAGE:
        return OF_ONE_IMAGE[output]
    taken = ", ".join(f"{field} ({of.kind})" for field, of in inputs.items())
    raise ValueError(
        f"format page cannot hold {name}: it takes {taken} and gives {output}; a page runs players that take one image and"
        f" give {', '.join(OF_ONE_IMAGE)}, or make images of noise"
    )


def write(
    path: str | pathlib.Path, models: Sequence[PageModel], *, kind: str, title: str, description: str = "",
    about: Mapping[str, str] | None = None, class_names: Sequence[str] = (), image_shape: Sequence[int | None] = (),
    examples: Examples | None = None, like: np.ndarray | None = None, sliders: Sequence[int] = (),
) -> pathlib.Path:  # fmt: skip
    """Write the page that runs the models side by side, in this order; return its path.

    Args:
      path: of the file; it is written whole or not at all.
      models: one or more. The first is what the others are compared with: a teacher, where there is one.
      kind: "classifier", "tags", "generator", or "images" (before and after): see `kind_of`.
      title: what heads the page.
      description: one sentence below it.
      about: what else is said, name -> text: data set, arm, seed, step.
      class_names: of a classifier's outputs, or of the classes that a generator is conditioned on.
      image_shape: (h, w, c) that the models take; h and w may be None for kind "images". A generator has none.
      examples: images to click; a page without them starts empty.
      like: uint8 [n, h, w, c], training images that a drawing is scaled and placed as; None: the examples.
      sliders: dimensions of the noise that have a slider, of a generator; by default the first eight.

    Raises:
      ValueError: a wrong kind, shape or number; the files of onnxruntime-web are absent, and what fetches them.
    """
    target = files.folder(path)
    _check(models, kind, class_names, image_shape, examples, sliders)
    data = _data(models, kind, title, class_names, image_shape, examples, like, sliders)
    page = _assembled(models, kind, title, description, about or {}, data, onnxruntime_web.read())
    files.write_atomic(target, page)
    return target


def _check(models, kind, class_names, image_shape, examples, sliders) -> None:
    if kind not in KINDS:
        raise ValueError(f"kind = {kind!r}: a page is of kind {', '.join(KINDS)}")
    if not models:
        raise ValueError("a page shows one or more models, and there is none")
    latent = max(model.latent for model in models)
    if kind == "generator":
        if without := [model.label for model in models if model.latent < 1]:
            raise ValueError(
                f"the page of a generator needs the size of its noise: latent of {without[0]!r} is not given"
            )
        if wrong := [number for number in sliders if not 0 <= number < latent]:
            raise ValueError(f"sliders = {wrong[0]}: the noise has the dimensions 0 to {latent - 1}")
        return
    if len(image_shape) != 3:
        raise ValueError(f"image_shape = {tuple(image_shape)}: (h, w, c) of the images that the models take")
    if kind in ("classifier", "tags") and (None in image_shape or not class_names):
        raise ValueError("the page of a classifier needs class_names, and an image_shape of three numbers")
    if examples is None:
        return
    for name, given in (("labels", examples.labels), ("targets", examples.targets)):
        if given is not None and len(given) != len(examples.images):
            raise ValueError(
                f"examples have {len(examples.images)} images and {len(given)} {name}; as many are accepted"
            )
    for image in examples.images:
        if image.dtype != np.uint8 or image.ndim != 3:
            raise ValueError(f"an example is {image.dtype} {list(image.shape)}; uint8 [h, w, c] is accepted")
        if any(wanted not in (None, given) for wanted, given in zip(image_shape, image.shape, strict=True)):
            raise ValueError(f"an example has shape {list(image.shape)}; the models take {list(image_shape)}")


def _data(models, kind, title, class_names, image_shape, examples, like, sliders) -> dict[str, Any]:
    """What the page's script reads."""
    latent = max(model.latent for model in models)
    data: dict[str, Any] = {
        "kind": kind,
        "title": title,
        "classes": [str(name) for name in class_names],
        "shape": list(image_shape),
        "models": [
            {
                "label": model.label,
                "bytes": len(model.onnx),
                "latent": model.latent,
                "projection": _projection(latent, model.latent),
            }
            for model in models
        ],
    }
    if examples is not None and (count := _count(examples)):
        data["examples"] = [_packed(image) for image in examples.images[:count]]
        if examples.labels is not None:
            data["labels"] = [
                np.flatnonzero(label).tolist() if np.ndim(label) else [int(label)] for label in examples.labels[:count]
            ]
        if examples.targets is not None:
            data["targets"] = [_packed(image) for image in examples.targets[:count]]
    if kind in ("classifier", "tags"):
        shown = like if like is not None else None if examples is None else np.asarray(examples.images)
        data["pad"] = None if shown is None else pad_of(shown)
    if kind == "generator":
        data["noise"] = _packed(start_noise(latent))
        data["sliders"] = [int(number) for number in sliders] or list(range(min(8, latent)))
    return data


def _count(examples: Examples) -> int:
    """How many examples the page has: large ones are fewer."""
    several = [examples.images, *([] if examples.targets is None else [examples.targets])]
    sizes = np.cumsum([sum(image.nbytes for image in pair) for pair in zip(*several, strict=True)])
    return min(MOST_EXAMPLES, max(1, int((sizes <= MOST_BYTES).sum())), len(sizes))


def start_noise(latent: int) -> np.ndarray:
    """The noise [16, latent] that the page of a generator starts with, standard normal."""
    return np.random.Generator(np.random.Philox(key=[latent, 0])).standard_normal((NOISES, latent)).astype(np.float32)


def _projection(latent: int, smaller: int) -> dict[str, Any] | None:
    """The matrix [latent, smaller] that makes the page's noise a smaller model's; None where it is the same."""
    if smaller in (0, latent):
        return None
    import jax.numpy as jnp

    from kdgan.losses.latents import project

    return _packed(np.asarray(project(jnp.eye(latent), smaller)))


def _packed(array: np.ndarray) -> dict[str, Any]:
    return {"shape": list(array.shape), "bytes": base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()}


def _assembled(models, kind, title, description, about, data, files_of_runtime: onnxruntime_web.Runtime) -> str:
    style = _file("page.css")
    script = "\n".join(_file(name) for name in ("pixels.js", "page.js", KINDS[kind], "start.js"))
    policy = POLICY.format(script=_digest(script), style=_digest(style))
    parts = {
        "policy": html.escape(policy),
        "title": html.escape(title),
        "description": f'<p class="what">{html.escape(description)}</p>' if description else "",
        "facts": "".join(
            f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(str(text))}</dd></div>" for name, text in about.items()
        ),
        "models": "".join(_model_row(model) for model in models),
        "style": style,
        "script": script,
        "data": _json(data),
        "networks": "".join(
            f'<script type="text/plain" id="network-{number}">{base64.b64encode(model.onnx).decode()}</script>\n'
            for number, model in enumerate(models)
        ),
        "licence": _file("onnxruntime-licence.txt"),
        "version": onnxruntime_web.VERSION,
        "module": base64.b64encode(files_of_runtime.module).decode(),
        "wasm": _compressed(files_of_runtime.wasm),
    }
    # In one pass: what is put in is not looked through again.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _file("page.html"))


def _model_row(model: PageModel) -> str:
    label, note = html.escape(model.label), html.escape(model.note)
    size = len(model.onnx) / 1000
    kilobytes = f"{size:,.{1 if size < 9.95 else 0}f} kB"
    return f'<tr><th scope="row">{label}</th><td>{note}</td><td class="number">{kilobytes}</td></tr>'


def _json(data: Mapping[str, Any]) -> str:
    """JSON that cannot end the element it stands in, whatever its strings hold."""
    text = json.dumps(data, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _file(name: str) -> str:
    return (FILES / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """As a Content-Security-Policy names the script or style whose text this is."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@functools.lru_cache(maxsize=1)
def _compressed(wasm: bytes) -> str:
    return base64.b64encode(gzip.compress(wasm, 9, mtime=0)).decode()
