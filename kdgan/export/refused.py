"""One line where a network cannot be held by a format: which operation it is that the format, or its converter, has not."""

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from jax.extend import core

# Operations that every format holds, for the networks of kdgan.models are made of them.
HELD = {
    "abs", "add", "and", "broadcast_in_dim", "concatenate", "conv_general_dilated", "convert_element_type", "copy",
    "custom_jvp_call", "custom_vjp_call", "div", "dot_general", "eq", "exp", "gather", "ge", "gt", "integer_pow",
    "iota", "jit", "le", "log", "logistic", "lt", "max", "min", "mul", "ne", "neg", "not", "or", "pad", "pjit",
    "reduce_max", "reduce_min", "reduce_sum", "reduce_window_max", "reshape", "rev", "rsqrt", "select_n", "slice",
    "sqrt", "square", "squeeze", "stop_gradient", "sub", "tanh", "transpose",
}  # fmt: skip
CALLBACKS = ("pure_callback", "io_callback", "debug_callback")
# As converters name what they do not know.
_NAMED = (
    r'call_target_name = "([\w.]+)"',
    r"failed to legalize operation '([\w.]+)'",
    r"[Pp]rimitive '([\w.\-]+)'",
)


@contextlib.contextmanager
def naming_operation(
    format: str, player: str, call: Callable[..., Any], given: Sequence[jax.ShapeDtypeStruct]
) -> Iterator[None]:
    """What a converter raises inside becomes one ValueError that names the operation.

    Args:
      format: as a sentence names it.
      player: likewise.
      call: the function that is converted.
      given: shapes of its arguments.

    Raises:
      ValueError: at once, where the function calls back to Python; and for what a converter raises.
    """
    operations = _operations(jax.make_jaxpr(call)(*given))
    if called := [name for name in CALLBACKS if name in operations]:
        raise ValueError(
            f"{format} cannot hold {player}: there is no {called[0]} in it; the player calls Python, which no file holds"
        )
    try:
        yield
    except Exception as error:  # converters raise classes of their own, and Python's plainest
        raise ValueError(f"{format} cannot hold {player}: {_said(error, operations)}") from error


def _said(error: Exception, operations: Sequence[str]) -> str:
    text = str(error)
    named = next((match[1] for pattern in _NAMED if (match := re.search(pattern, text))), None)
    unusual = [name for name in operations if name not in HELD]
    if named is None and unusual:
        if len(unusual) > 1:
            return f"it lacks one or more of {', '.join(unusual)}"
        named = unusual[0]
    if named is not None:
        return f"there is no {named} in it"
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {line[:200]}"


def _operations(program: Any) -> list[str]:
    """The operations of a traced program and of those that it calls, each once."""
    inner = getattr(program, "jaxpr", program)
    names: dict[str, None] = {}
    for equation in inner.eqns:
        names[equation.primitive.name] = None
        for value in equation.params.values():
            for part in value if isinstance(value, tuple | list) else (value,):
                if isinstance(getattr(part, "jaxpr", part), core.Jaxpr):
                    names |= dict.fromkeys(_operations(part))
    return list(names)
