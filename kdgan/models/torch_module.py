"""A PyTorch module as a frozen player: `model="torch:my_project.nets.Net"`.

It is converted by torchax (0.0.13), and not by torch2jax (0.1.0), which has no grouped convolutions, no average pooling and
adaptive pooling to one value only.
"""

import copy
import functools
import hashlib
import importlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array

from kdgan import extras
from kdgan.models import torch_to_jax

COLLECTIONS = ("params", "buffers")  # of a PyTorch module's tensors: trained ones, others
ROOT = "module"  # they lie under one name, so that no name of theirs meets one of Linen's
WITHIN = 1e-4  # of the largest output: how far JAX's may lie from PyTorch's on random inputs
SHOWN = 5  # names of each kind in a message


class TorchModule(nn.Module):
    """A `torch.nn.Module` in evaluation mode, differentiable with respect to its input; frozen: nothing here trains it.

    Images come as [b, h, w, c] and are given on as [b, c, h, w], and what it gives of four axes comes back likewise; every
    other array is given on as it is. Its parameters and buffers are variables ("params", "buffers"), at first those that it
    has. What the outputs of its parts are is known by their paths (`features=("layer1",)`, "layer2/0/conv1").

    When it is traced first, its outputs on two random examples are compared with PyTorch's own.

    Attributes:
      module: the module, e.g. as `of(torch_net)` makes it.
    """

    module: "Held"

    brings_parameters = True
    frozen_only = "a PyTorch module, which runs in evaluation mode"

    @nn.compact
    def __call__(self, *args) -> Any:
        """What the module gives.

        Raises:
          ValueError: its forward pass cannot be converted, draws random numbers, gives something else than an array, or a
            mapping of arrays, or gives other numbers in JAX than in PyTorch; one line.
        """
        held = self.module
        params = self.param(ROOT, lambda key: jax.tree.map(jnp.asarray, held.variables["params"]))
        buffers = self.variable("buffers", ROOT, lambda: jax.tree.map(jnp.asarray, held.variables["buffers"])).value
        dtype = jnp.result_type(*jax.tree.leaves(params)) if params else None
        buffers = jax.tree.map(lambda leaf: leaf.astype(dtype) if dtype and leaf.dtype.kind == "f" else leaf, buffers)
        held.check(tuple((array.shape[1:], np.dtype(array.dtype).name) for array in args))
        output, parts = held(params, buffers, args)
        if self.is_mutable_collection("intermediates"):
            for path, value in parts.items():
                scope = functools.reduce(lambda scope, name: scope.push(name, reuse=True), path.split("."), self.scope)
                scope.put_variable("intermediates", "__call__", (value,))
        return output

    @property
    def origin(self) -> str:
        """Where it comes from, in words."""
        return repr(self.module)

    @property
    def content(self) -> str:
        """SHA-256 of the parameters and buffers that it has."""
        return self.module.content

    def own_variables(self) -> dict[str, Any]:
        """The parameters and buffers that the module has, as variables."""
        return {kind: {ROOT: tree} for kind, tree in self.module.variables.items()}

    def from_state_dict(self, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Variables of the module's own `state_dict()`, name -> array.

        Raises:
          ValueError: names that are missing or left over, or other shapes: the first five of each.
        """
        return {kind: {ROOT: tree} for kind, tree in self.module.from_state_dict(arrays).items()}


class Held:
    """A PyTorch module as a field of a Linen module: known by identity, its tensors as nested mappings of arrays.

    Attributes:
      variables: {"params": tree, "buffers": tree} that the module has; "layer1.0.weight" lies at ["layer1"]["0"]["weight"].

    Args:
      module: a copy of it is kept, in evaluation mode and float32.
      name: in messages, and in what a player is known by.
    """

    def __init__(self, module: Any, name: str):
        self._module, self._name = copy.deepcopy(module).eval().float(), name
        self._checked: set[Any] = set()
        arrays = {name: _array(tensor) for name, tensor in self._tensors().items()}
        own = dict(self._module.named_parameters())
        self.variables = {
            "params": _nested({name: array for name, array in arrays.items() if name in own}),
            "buffers": _nested({name: array for name, array in arrays.items() if name not in own}),
        }

    def __repr__(self) -> str:
        return self._name

    @functools.cached_property
    def content(self) -> str:
        """SHA-256 of its tensors."""
        found = hashlib.sha256()
        for name, array in sorted(_flat(self.variables).items()):
            found.update(f"{name} {array.shape} {array.dtype} ".encode() + np.ascontiguousarray(array).tobytes())
        return found.hexdigest()

    def _tensors(self) -> dict[str, Any]:
        return {**dict(self._module.named_parameters()), **dict(self._module.named_buffers())}

    def __call__(self, params: Any, buffers: Any, args: tuple) -> tuple[Any, dict[str, Array]]:
        """(output, submodule's name -> its output) on images [b, h, w, c] and other arrays."""
        parts: dict[str, Any] = {}
        keep = lambda name: lambda module, inputs, output: parts.__setitem__(name, output)
        hooks = [part.register_forward_hook(keep(name)) for name, part in self._module.named_modules() if name]
        try:
            state = {**_flat(params), **_flat(buffers)}
            output = torch_to_jax.run(self._module, state, tuple(_channels_first(one) for one in args))
        finally:
            for hook in hooks:
                hook.remove()
        arrays = torch_to_jax.arrays_of(parts)
        return self._as_output(output), {name: _channels_last(value) for name, value in arrays.items()}

    def _as_output(self, output: Any) -> Any:
        if isinstance(output, Mapping) and all(hasattr(value, "shape") for value in output.values()):
            return {name: _channels_last(value) for name, value in output.items()}
        if not isinstance(output, jax.Array):
            raise ValueError(
                f"PyTorch module {self._name} gives a {type(output).__name__}; a tensor, or a mapping of tensors, is"
                " accepted: wrap it in a module that gives one"
            )
        return _channels_last(output)

    def check(self, of_example: tuple) -> None:
        """Compare JAX's outputs with PyTorch's on two random examples; once for each shape.

        Args:
          of_example: (shape, dtype) of one example of each input.

        Raises:
          ValueError: they differ.
        """
        if of_example in self._checked:
            return
        rng = np.random.default_rng(0)
        args = tuple(
            rng.normal(size=(2, *shape)).astype(np.float32) if jnp.issubdtype(dtype, jnp.floating)
            else np.zeros((2, *shape), dtype) for shape, dtype in of_example
        )  # fmt: skip
        with jax.ensure_compile_time_eval():
            theirs = jax.tree.leaves(self._as_output(self.in_torch(args)))
        with jax.ensure_compile_time_eval(), _on_cpu(), jax.default_matmul_precision("highest"):
            params, buffers = self.variables["params"], self.variables["buffers"]
            # What runs once need not run fast.
            options = {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None
            run = jax.jit(lambda params, buffers: self(params, buffers, args)[0], compiler_options=options)
            ours = jax.tree.leaves(run(params, buffers))
        for mine, other in zip(map(np.asarray, ours), map(np.asarray, theirs), strict=True):
            far = np.abs(mine - other).max(initial=0) / max(1e-3, np.abs(other).max(initial=0))
            if not far <= WITHIN and np.isfinite(other).all():
                raise ValueError(
                    f"PyTorch module {self._name} gives other numbers in JAX than in PyTorch: by {far:.1%} of the largest"
                    " output on random inputs; an operation of it is converted wrongly. As an ONNX file it may serve"
                )
        self._checked.add(of_example)

    def in_torch(self, args: tuple) -> Any:
        """What PyTorch itself gives on these arrays, with the module's own parameters; its images as [b, c, h, w]."""
        import torch

        # Cloned into the strides that `view` expects: those of an axis of one value could be any.
        plain = lambda array: torch.tensor(array).clone(memory_format=torch.contiguous_format)
        given = [plain(np.ascontiguousarray(_channels_first(np.asarray(array)))) for array in args]
        try:
            with torch.no_grad():
                output = self._module(*given)
        except Exception as error:  # whatever a module of the user's own raises
            raise ValueError(torch_to_jax.failed(self._module, error)) from error
        return jax.tree.map(
            lambda tensor: jnp.asarray(_array(tensor)), output, is_leaf=lambda one: isinstance(one, torch.Tensor)
        )

    def from_state_dict(self, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """`variables` with the arrays of a state dict; buffers that a module does not save keep their values."""
        known = {name: _array(tensor) for name, tensor in self._tensors().items()}
        saved = self._module.state_dict()
        wrong = {
            "missing": [name for name in saved if name not in arrays],
            "left over": [name for name in arrays if name not in saved],
            "of another shape": [
                f"{name} {list(arrays[name].shape)}, not {list(saved[name].shape)}"
                for name in saved if name in arrays and tuple(arrays[name].shape) != tuple(saved[name].shape)
            ],
        }  # fmt: skip
        if any(wrong.values()):
            raise ValueError(
                f"these are not the weights of PyTorch module {self._name}: "
                + "; ".join(f"{what}: {_listed(names)}" for what, names in wrong.items() if names)
            )
        known |= {name: np.asarray(arrays[name]).astype(known[name].dtype) for name in saved if name in known}
        own = dict(self._module.named_parameters())
        return {
            "params": _nested({name: array for name, array in known.items() if name in own}),
            "buffers": _nested({name: array for name, array in known.items() if name not in own}),
        }


def of(module: Any, name: str | None = None) -> TorchModule:
    """A player of a `torch.nn.Module`.

    Raises:
      ValueError: it is none, or torchax is not installed.
    """
    torch = extras.need("torch", "a PyTorch module as a player")
    torch_to_jax.environment()
    if not isinstance(module, torch.nn.Module):
        raise ValueError(f"{name or 'the module'} is a {type(module).__name__}; a torch.nn.Module is accepted")
    return TorchModule(Held(module, name or type(module).__name__))


def build(path: str, constructor: Callable[..., Any], arguments: Mapping[str, Any]) -> TorchModule:
    """The player that a class or function gives; what it draws at random is the same in every process."""
    return TorchModule(_held(path, constructor, _frozen(arguments)))


@functools.lru_cache(maxsize=16)  # a run builds its modules several times; a large one takes seconds
def _held(path: str, constructor: Callable[..., Any], arguments: tuple) -> Held:
    torch = importlib.import_module("torch")
    kept = torch.get_rng_state()
    torch.default_generator.manual_seed(0)
    try:
        return of(constructor(**dict(arguments)), path).module
    finally:
        torch.set_rng_state(kept)


def _frozen(arguments: Mapping[str, Any]) -> tuple:
    hashable = lambda value: _Mapping(value) if isinstance(value, Mapping) else value
    return tuple((name, hashable(value)) for name, value in arguments.items())


class _Mapping(dict):
    def __hash__(self):  # type: ignore[override]
        return hash(repr(sorted(self.items())))


def _on_cpu():
    try:
        return jax.default_device(jax.local_devices(backend="cpu")[0])
    except RuntimeError:
        return jax.default_device(None)


def _array(tensor: Any) -> np.ndarray:
    """In JAX's types: counts of batches are int64 in PyTorch."""
    array = tensor.detach().cpu().numpy()
    return np.array(array, jax.dtypes.canonicalize_dtype(array.dtype))


def _channels_first(array: Any) -> Any:
    return array.transpose(0, 3, 1, 2) if array.ndim == 4 else array


def _channels_last(array: Any) -> Any:
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


def _nested(arrays: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        *parents, last = name.split(".")
        functools.reduce(lambda node, part: node.setdefault(part, {}), parents, tree)[last] = array
    return tree


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def _listed(names: list[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
