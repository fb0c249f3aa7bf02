"""A teacher or student as Python hands it over, as a player of a config.

| given | what becomes of it |
|---|---|
| "resnet20", a Flax module | trained here |
| (name or Flax module, parameters), the parameters a tree or a file | starts from them |
| a workdir | the player of that run, from its checkpoint |
| "teacher.onnx", a PyTorch module, any function of arrays | frozen |
| a mapping | the fields of the player, as a config has them |

A module of Flax whose class can be imported, and whose fields a config can hold, is written into the config. All else is
handed over as it is, and called `python:NAME`; the name alone stands for it when the run goes on.
"""

import dataclasses
import hashlib
import importlib.util
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import linen as nn
from flax.serialization import msgpack_serialize, to_state_dict

from kdgan import files, models
from kdgan.data.cache import cache_dir
from kdgan.models.function import Function
from kdgan.run import trained
from kdgan.run.claim import CHECKPOINTS, CONFIG
from kdgan.run.config import ConfigError
from kdgan.run.inputs import HANDED_OVER
from kdgan.run.prediction import WANTED
from kdgan.run.schema import Data, Player

UNNAMED = "unnamed"
WEIGHTS = (".npz", ".pth", ".pt", ".safetensors", ".msgpack")


@dataclasses.dataclass(frozen=True)
class Given:
    """A player as a config has it.

    Attributes:
      player: fields of `config.players.x`.
      start: where it starts, as `config.stages.x.start.x` says it; {}: it is trained first.
      modules: what is handed over as it is, by the name that `player["model"]` has.
      trains: whether it has parameters that a method can train.
      cached: it is called outside of compiled programs, so that its outputs must be cached.
    """

    player: Mapping[str, Any]
    start: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    modules: Mapping[str, nn.Module] = dataclasses.field(default_factory=dict)
    trains: bool = True
    cached: bool = False

    @property
    def is_frozen(self) -> bool:
        """Whether it comes trained."""
        return bool(self.start) or not self.trains


def player(role: str, given: Any, example: Any, name: str | None) -> Given:
    """What was given for a role, as a player.

    Args:
      role: "teacher" or "student", for messages.
      given: see the table above.
      example: the inputs of two examples as players see them, a tuple of arrays [2, ...], by which the outputs of a function
        are found out.
      name: what modules are called that no config can hold.

    Raises:
      ConfigError: nothing of the table.
    """
    if isinstance(given, type):
        raise ConfigError(f"{role} = {given!r}: a class; an instance is accepted, {role}={given.__name__}(...)")
    if isinstance(given, Mapping):
        return Given(dict(given))
    if isinstance(given, tuple) and len(given) == 2:
        network = player(role, given[0], example, name)
        return dataclasses.replace(network, start={"checkpoint": _parameters(given[1])})
    if isinstance(given, str | pathlib.Path):
        return _of_path(role, given)
    if isinstance(given, nn.Module):
        known = _described(given)
        written = Given(known) if known else _handed_over(role, given, name)
        return dataclasses.replace(written, trains=_has_parameters(given, example))
    if _is_torch_module(given):
        from kdgan.models import torch_module

        return dataclasses.replace(_handed_over(role, torch_module.of(given), name), trains=False)
    if callable(given):
        return _function(role, given, example, name)
    raise ConfigError(
        f"{role} = {given!r}: the name of a model, a Flax module, (module, parameters), a workdir, an .onnx file, a PyTorch"
        " module, a function of arrays, or the fields of a player are accepted"
    )


def _of_path(role: str, given: str | pathlib.Path) -> Given:
    path = files.folder(given)
    if (path / CONFIG).exists():
        return _of_run(role, path)
    if path.suffix == ".onnx":
        return Given({"model": f"onnx:{path}"}, trains=False)
    if path.exists():
        raise ConfigError(
            f"{role} = {str(given)!r}: parameters without their network, or a folder that is no workdir; give both,"
            f' {role}=("resnet20", {str(given)!r})'
        )
    if "/" in str(given) or path.suffix in WEIGHTS:
        raise ConfigError(f"{role} = {str(given)!r}: there is no such file or folder")
    return Given({"model": str(given)})


def _of_run(role: str, workdir: pathlib.Path) -> Given:
    """The player of a run that has this role, else the one that `kdgan.load` takes; one for all seeds."""
    wanted = lambda player: trained.find(
        workdir, WANTED, player=player, stage=None, arm=None, member=None, average=False
    )
    try:
        of_run = wanted(role)
    except ConfigError:
        of_run = wanted(None)
    fields = _unlike_default(of_run.player)
    if hasattr(of_run.module, "num_classes") and of_run.data["num_classes"]:
        fields["model_args"] = {"num_classes": of_run.data["num_classes"], **fields.get("model_args", {})}
    pixels = {"mean": of_run.config.mean, "std": of_run.config.std}
    if pixels != {"mean": Data.mean, "std": Data.std}:
        fields = {**pixels, **fields}
    checkpoint = workdir / CHECKPOINTS / of_run.stage.name
    start = {"checkpoint": str(checkpoint), "player": of_run.name, "arm": of_run.arm.name, "member": of_run.seed}
    return Given(fields, start)


def _unlike_default(player: Player) -> dict[str, Any]:
    """What of a player decides its outputs, where it differs from the default."""
    names = ("model", "model_args", "inputs", "mean", "std", "image_size", "quantise", "classes")
    default = Player()
    return {n: getattr(player, n) for n in names if n == "model" or getattr(player, n) != getattr(default, n)}


def _described(module: nn.Module) -> dict[str, Any] | None:
    """`model` and `model_args` that build an equal module; None where there are none."""
    kind = type(module)
    if kind.__module__ == "__main__" or "." in kind.__qualname__ or importlib.util.find_spec(kind.__module__) is None:
        return None
    path = f"{kind.__module__}.{kind.__qualname__}"
    fields = {f.name: f for f in dataclasses.fields(module) if f.init and f.name not in ("parent", "name")}
    values = {name: getattr(module, name) for name in fields}
    arguments = {name: value for name, value in values.items() if value is not fields[name].default}
    if not all(map(_is_plain, arguments.values())):
        return None
    try:
        same = models.build(path, **arguments) == module
    except (ValueError, TypeError):
        return None
    return {"model": path, "model_args": arguments} if same else None


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _handed_over(role: str, module: nn.Module, name: str | None) -> Given:
    model = f"{HANDED_OVER}{name or UNNAMED}/{role}"
    return Given({"model": model}, modules={model: module})


def _parameters(parameters: Any) -> str:
    """A file with parameters: the one that is named, or one in the user's cache, called by its content."""
    if isinstance(parameters, str | pathlib.Path):
        return str(parameters)
    tree = to_state_dict(parameters)
    tree = tree if "params" in tree else {"params": tree}
    content = msgpack_serialize(jax.tree.map(np.asarray, tree))
    path = cache_dir() / "handed_over" / f"{hashlib.sha256(content).hexdigest()[:24]}.msgpack"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomic(path, content)
    return str(path)


def _has_parameters(module: nn.Module, example: tuple) -> bool:
    key = jax.random.key(0)
    return bool(jax.tree.leaves(jax.eval_shape(lambda *inputs: module.init(key, *inputs), *example).get("params", {})))


def _is_torch_module(given: Any) -> bool:
    """Without importing PyTorch, which is there where one of its modules is."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(given, torch.nn.Module)


def _function(role: str, function: Callable[..., Any], example: tuple, name: str | None) -> Given:
    try:
        outputs = np.asarray(function(*map(np.asarray, example)))
    except Exception as error:  # whatever a function of the user's own raises
        raise ConfigError(
            f"{role} = {function!r}: called with inputs {[list(np.shape(one)) for one in example]} it raises"
            f" {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        ) from error
    if outputs.dtype.kind not in "fiu" or outputs.ndim < 1 or len(outputs) != len(example[0]):
        raise ConfigError(
            f"{role} = {function!r}: of inputs {[list(np.shape(one)) for one in example]} it gives {outputs.dtype}"
            f" {list(outputs.shape)}; one output for each example is accepted, as logits or probabilities [b, k]"
        )
    sums = outputs.sum(-1) if outputs.ndim > 1 else np.zeros(1)
    probabilities = outputs.min() >= 0 and np.allclose(sums, 1, atol=1e-3)
    module = Function(
        function, host=True, shape=outputs.shape[1:], outputs="probabilities" if probabilities else "logits"
    )
    return dataclasses.replace(_handed_over(role, module, name), trains=False, cached=True)
