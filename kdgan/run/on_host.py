"""Players that are functions on the host: what is refused before anything compiles, how they run, and what failed in them.

A function of NumPy arrays (`models.Function(host=True)`) runs outside of compiled programs; an ONNX file is called from
inside of one (`kdgan/models/host.py`), where a failure gives NaN and is told of here.
"""

from collections.abc import Callable, Iterable

import jax
from flax import linen as nn

from kdgan import parallel
from kdgan.around import innermost
from kdgan.models import Function, OnnxModule, host
from kdgan.run.config import ConfigError
from kdgan.run.program import Program


def runs_outside(module: nn.Module) -> bool:
    """Whether a module is called with NumPy arrays, outside of any program."""
    inside = innermost(module)
    return isinstance(inside, Function) and inside.host


def is_called_back(module: nn.Module) -> bool:
    """Whether a program that runs a module calls the host."""
    inside = innermost(module)
    return isinstance(inside, OnnxModule) and not inside.gradients


def is_counted(module: nn.Module) -> bool:
    """Whether XLA sees the operations of a module."""
    return not runs_outside(module) and not is_called_back(module)


def compiled(module: nn.Module, function: Callable) -> Callable:
    """A function that runs a module, compiled where the module can be."""
    return function if runs_outside(module) else parallel.compiled(function)


def check(program: Program, where: str) -> None:
    """Refuse players on the host that a step would run and cannot.

    Raises:
      ConfigError: a function of NumPy arrays that is not cached; a backend that cannot call the host.
    """
    for name, module in program.modules.items():
        if name in program.cached:
            continue
        if runs_outside(module):
            raise ConfigError(
                f"{where}: {name} is a function on the host, which no compiled step calls; its outputs can be computed"
                f" before the first step: add {where}.cached = {(*program.cached, name)}"
            )
        if is_called_back(module):
            try:
                host.check_platform(jax.default_backend())
            except ValueError as error:
                raise ConfigError(f"{where}: {name} runs on the host: {error}") from error


def check_failures(modules: Iterable[nn.Module]) -> None:
    """Say what failed on the host, of what these modules' programs called since the process began.

    Raises:
      ConfigError: something did.
    """
    for module in modules:
        if failure := getattr(innermost(module), "failure", ""):
            raise ConfigError(failure)


def waits(program: Program) -> bool:
    """Whether a step on several devices is waited for, since it calls the host.

    Steps that wait for each other's devices, and calls of Python among them, can stand in each other's way.
    """
    return any(is_called_back(module) for name, module in program.modules.items() if name not in program.cached)
