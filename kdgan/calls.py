"""Equations of a JAX program that call another program: `jit`, `checkpoint`, functions with derivatives of their own."""

from typing import Any

from jax.extend import core

# Such a primitive does what the program inside of it does; names of several releases of JAX.
PRIMITIVES = (
    "jit", "pjit", "closed_call", "core_call", "remat2", "checkpoint", "custom_jvp_call", "custom_vjp_call",
)  # fmt: skip
_FIELDS = ("jaxpr", "call_jaxpr", "fun_jaxpr")


def inner(equation: core.JaxprEqn) -> Any:
    """The program in an equation's parameters, with or without constants of its own; None: it has none.

    Loops have one, too, which is not what they do: see PRIMITIVES.
    """
    return next((equation.params[name] for name in _FIELDS if name in equation.params), None)
