"""An ONNX file as a frozen player: `model="onnx:teacher.onnx"`.

A program calls onnxruntime on the host (`kdgan.models.host`), without gradients. With `gradients=True` jaxonnxruntime makes
operations of JAX of the file, where it knows all of them.
"""

import functools
import hashlib
import pathlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jax.typing import ArrayLike

from kdgan import extras
from kdgan.models import host

LAYOUTS = ("NHWC", "NCHW")
DTYPES = {
    "tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8,
    "tensor(int32)": np.int32, "tensor(int64)": np.int64,
}  # fmt: skip
OPSET = 17  # the newest that jaxonnxruntime (0.3.0) reads


class OnnxModule(nn.Module):
    """The network of an ONNX file: one array in, one array [b, ...] out. Frozen: nothing here trains it.

    Images come as [b, h, w, c]; a file of the layout NCHW is given [b, c, h, w], and what it gives of four axes comes back
    likewise. A file that takes uint8 is given round(255·x): a player of it sees pixels in [0, 1] (mean 0, std 1). One of
    a fixed batch of 1 is run for each example by itself.

    Attributes:
      file: its path.
      layout: "NHWC" or "NCHW"; None: found from the file's input beside the data's images.
      output: name of the output, of a file with several.
      gradients: whether it is converted to operations of JAX, and has gradients with respect to its input. Its weights are
        then variables ("params").
      content: SHA-256 of the file, by which a player is known.
      player: what messages call it.
    """

    file: str
    layout: str | None = None
    output: str | None = None
    gradients: bool = False
    content: str = ""
    player: str = ""

    frozen_only = "an ONNX file"

    @property
    def brings_parameters(self) -> bool:
        return self.gradients

    @nn.compact
    def __call__(self, image: ArrayLike) -> Array:
        """What the file's network gives: float32 [b, ...].

        Raises:
          ValueError: the file does not take such an input, or is none that this class reads, or the packages are missing.
        """
        read, image = opened(self.file, self.content), jnp.asarray(image)
        place = _placed(read, self._who, tuple(image.shape), self.layout)
        output = _chosen(read, self._who, self.output)
        if self.gradients:
            return self._converted(place, output, image)
        shape = _shape(
            self.file, self.content, output, place, tuple(image.shape[1:]), np.dtype(image.dtype).name, self._who
        )
        return host.call(_host_call(self.file, self.content, output, place, self._who), shape, image)

    def _converted(self, place: "Place", output: str, image: Array) -> Array:
        converted = _of_jax(self.file, self.content, output, _turned_shape(place, tuple(image.shape)), self._who)
        weights = self.param("weights", lambda key: jax.tree.map(jnp.asarray, converted.weights))
        given = _turned(place, image)
        with jax.numpy_rank_promotion("allow"):
            result = converted(weights, given if place.dtype != np.uint8 else jnp.round(255 * given), self._who)
        return _back(place, result).astype(jnp.float32)

    @property
    def origin(self) -> str:
        """Where it comes from, in words."""
        return f"onnx:{self.file}"

    @property
    def failure(self) -> str:
        """What went wrong on the host, in one line; "" where nothing did."""
        return next((call.failure for call in _calls(self.file, self.content) if call.failure), "")

    @property
    def _who(self) -> str:
        return f"players.{self.player} ({self.file})" if self.player else self.file


def build(path: str, arguments: Mapping[str, Any]) -> OnnxModule:
    """The player of a file, with the digest of its content.

    Raises:
      ValueError: there is no such file, or it is none that onnxruntime reads; a layout or an argument that is none.
    """
    known = ("layout", "output", "gradients")
    if unknown := [name for name in arguments if name not in known]:
        raise ValueError(f"model 'onnx:{path}' has no field {unknown[0]!r}; it accepts {', '.join(known)}")
    if arguments.get("layout") not in (None, *LAYOUTS):
        raise ValueError(f"model 'onnx:{path}': layout = {arguments['layout']!r}; it accepts {' or '.join(LAYOUTS)}")
    place = pathlib.Path(path).expanduser()
    try:
        content = hashlib.sha256(place.read_bytes()).hexdigest()
    except OSError as error:
        raise ValueError(f"model 'onnx:{path}': {error.strerror or error}") from error
    opened(str(place), content)
    return OnnxModule(str(place), content=content, **arguments)


class File(NamedTuple):
    """An ONNX file as onnxruntime has read it.

    Attributes:
      session: that runs it.
      input: name of its input.
      dtype: of it.
      shape: of it; None for what it leaves open.
      outputs: their names.
    """

    session: Any
    input: str
    dtype: Any
    shape: tuple[int | None, ...]
    outputs: tuple[str, ...]


@functools.lru_cache(maxsize=8)
def opened(path: str, content: str) -> File:
    """The file, read once in a process for each content of it.

    Raises:
      ValueError: it is no ONNX file, has not one input, or one of a type that no data have, or a fixed batch that is not 1.
    """
    runtime = extras.need("onnxruntime", f"running {path}")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    # Its threads would keep on turning between two calls, while the program needs the cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class for each kind of mistake, and no common one
        raise ValueError(
            f"{path} is no ONNX file that onnxruntime reads: {' '.join(str(error).split())[:200]}"
        ) from error
    inputs = session.get_inputs()
    if len(inputs) != 1:
        names = ", ".join(one.name for one in inputs) or "none"
        raise ValueError(f"{path} has {len(inputs)} inputs ({names}); a file with one is accepted")
    (one,) = inputs
    if one.type not in DTYPES:
        raise ValueError(f"{path} takes {one.type}; {', '.join(DTYPES)} are accepted")
    shape = tuple(side if isinstance(side, int) and side > 0 else None for side in one.shape)
    if not shape or shape[0] not in (None, 1):
        raise ValueError(
            f"{path} takes an input of shape {list(one.shape)}; a batch of any size, or of 1, is accepted: export it with a"
            " dynamic first axis"
        )
    return File(session, one.name, DTYPES[one.type], shape, tuple(output.name for output in session.get_outputs()))


class Place(NamedTuple):
    """How images come to the file, and what it gives comes back."""

    channels_first: bool
    dtype: Any
    one_by_one: bool


def _chosen(file: File, who: str, output: str | None) -> str:
    if output is None and len(file.outputs) == 1:
        return file.outputs[0]
    if output not in file.outputs:
        which = "" if output is None else f", and no {output!r}"
        raise ValueError(
            f"{who} has the outputs {', '.join(file.outputs)}{which}; name one:"
            f" model_args = dict(output={file.outputs[0]!r})"
        )
    return output


def _placed(file: File, who: str, given: tuple[int, ...], layout: str | None) -> Place:
    """How an input of this shape is given to the file."""
    fits = lambda shape: (
        len(shape) == len(file.shape)
        and all(side is None or side == one for side, one in zip(file.shape[1:], shape[1:], strict=True))
    )
    as_words = "[" + ", ".join("?" if side is None else str(side) for side in file.shape) + "]"
    if len(given) != 4:
        if not fits(given):
            raise ValueError(
                f"{who} takes an input of shape {as_words}, and is given {['b', *given[1:]]}".replace("'", "")
            )
        return Place(layout == "NCHW", file.dtype, file.shape[0] == 1)
    shapes = {"NHWC": given, "NCHW": (given[0], given[3], *given[1:3])}
    fitting = [name for name in LAYOUTS if fits(shapes[name]) and layout in (None, name)]
    if not fitting:
        asked = f" in the layout {layout}" if layout else " in either layout"
        raise ValueError(
            f"{who} takes an input of shape {as_words}, which images {'×'.join(map(str, given[1:]))} do not fit{asked}; set"
            " image_size of the player, or data.channels"
        )
    if len(fitting) == 2:
        raise ValueError(
            f"{who} takes an input of shape {as_words}, which does not say where the channels of images"
            f" {'×'.join(map(str, given[1:]))} are; set model_args = dict(layout='NCHW') or 'NHWC'"
        )
    return Place(fitting[0] == "NCHW", file.dtype, file.shape[0] == 1)


def _turned_shape(place: Place, shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], shape[3], *shape[1:3]) if place.channels_first and len(shape) == 4 else shape


def _turned(place: Place, array: Any) -> Any:
    return array.transpose(0, 3, 1, 2) if place.channels_first and array.ndim == 4 else array


def _back(place: Place, array: Any) -> Any:
    return array.transpose(0, 2, 3, 1) if place.channels_first and array.ndim == 4 else array


def _as_file_takes(place: Place, array: np.ndarray) -> np.ndarray:
    turned = _turned(place, array)
    if place.dtype == np.uint8 and turned.dtype.kind == "f":
        if turned.size and not (turned.min() >= -1e-3 and turned.max() <= 1 + 1e-3):
            raise ValueError(
                f"the file takes uint8, and is given pixels from {turned.min():.3g} to {turned.max():.3g}; set mean = 0.0"
                " and std = 1.0 of the player, so that they lie in [0, 1]"
            )
        turned = np.clip(np.round(255 * turned), 0, 255)
    return np.ascontiguousarray(turned, place.dtype)


def _run(file: File, output: str, place: Place, array: np.ndarray) -> np.ndarray:
    given = _as_file_takes(place, array)
    parts = np.split(given, len(given)) if place.one_by_one else [given]
    results = [file.session.run([output], {file.input: part})[0] for part in parts]
    return np.ascontiguousarray(_back(place, np.concatenate(results)), np.float32)


@functools.lru_cache(maxsize=32)
def _host_call(path: str, content: str, output: str, place: Place, who: str) -> host.HostCall:
    call = host.HostCall(functools.partial(_run, opened(path, content), output, place), who)
    _calls(path, content).append(call)
    return call


@functools.lru_cache(maxsize=32)
def _calls(path: str, content: str) -> list[host.HostCall]:
    """Those of a file that there are."""
    return []


@functools.lru_cache(maxsize=32)
def _shape(path: str, content: str, output: str, place: Place, one: tuple, dtype: str, who: str) -> tuple[int, ...]:
    """Shape of an output, of one example of zeros."""
    call = host.HostCall(functools.partial(_run, opened(path, content), output, place), who)
    return call(np.zeros((1, *one), dtype)).shape[1:]


class Converted:
    """A file as a function of JAX.

    Attributes:
      weights: name -> array.
    """

    def __init__(self, function: Any, weights: Mapping[str, Any], name: str):
        self._function, self.weights, self._name = function, dict(weights), name

    def __call__(self, weights: Mapping[str, Any], array: Array, who: str) -> Array:
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Explicitly requested dtype .*int64", UserWarning)
                return self._function(dict(weights), {self._name: array})[0]
        except Exception as error:  # whatever jaxonnxruntime and JAX raise
            raise ValueError(
                f"{who} with gradients: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
            ) from error


@functools.lru_cache(maxsize=8)
def _of_jax(path: str, content: str, output: str, shape: Sequence[int], who: str) -> Converted:
    """The file as a function of JAX, for inputs of this shape.

    Raises:
      ValueError: it has an operation that jaxonnxruntime does not know, or computes shapes from its input.
    """
    onnx = extras.need("onnx", f"gradients through {path}")
    extras.need("jaxonnxruntime", f"gradients through {path}")
    from jaxonnxruntime import call_onnx, config, onnx_ops

    try:
        model = onnx.version_converter.convert_version(onnx.load(path), OPSET)
    except Exception as error:  # the converter's own, whatever it raises
        said = " ".join(str(error).split())[-200:]
        raise ValueError(f"{who} with gradients: it cannot be written in ONNX's opset {OPSET}: {said}") from error
    known = {name.lower() for name in vars(onnx_ops)} | {"not"}
    absent = sorted({node.op_type for node in model.graph.node if node.op_type.lower() not in known})
    if absent:
        raise ValueError(
            f"{who} with gradients: jaxonnxruntime knows no {', '.join(absent)}; without gradients it runs on the host"
        )
    (place,) = [one for one in model.graph.output if one.name == output]
    del model.graph.output[:]
    model.graph.output.append(place)
    (given,) = {one.name for one in model.graph.input} - {one.name for one in model.graph.initializer}
    only = "jaxort_only_allow_initializers_as_static_args"
    kept = getattr(config, only)
    config.update(only, False)
    try:
        with jax.ensure_compile_time_eval(), jax.numpy_rank_promotion("allow"):
            zeros = np.zeros(shape, np.float32)
            function, weights = call_onnx.call_onnx_model(model, {given: zeros})
            weights = {name: np.asarray(array) for name, array in weights.items()}
    except Exception as error:  # whatever jaxonnxruntime and JAX raise
        raise ValueError(
            f"{who} with gradients: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        ) from error
    finally:
        config.update(only, kept)
    return Converted(function, weights, given)
