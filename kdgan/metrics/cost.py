"""What a player or a step costs: parameters, floating-point operations, memory, and latency on this device."""

import contextlib
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

# The first call compiles; the next ones let clocks, caches and allocators settle.
_WARM_UPS = 3
_FEWEST = 3  # calls timed, however long they take


def parameters(params: Any) -> int:
    """Number of scalars in a pytree of arrays, or of `jax.ShapeDtypeStruct`: nothing need be initialised to count."""
    return sum(int(leaf.size) for leaf in jax.tree.leaves(params))


def flops(fn: Callable[..., Any], *args: Any, examples: int = 1) -> float | None:
    """Floating-point operations of `fn(*args)` per example, as XLA counts them; nothing is executed.

    A multiply-add counts as 2: a dense layer of n inputs and m outputs is 2nm, and m more for its bias; papers that
    count "MACs" are half of it. A convolution's taps that fall on padding are not counted. Additions, maxima and the
    like count 1 an element; exp, log and tanh are not FLOPs to XLA. The body of a loop (`scan`, `while_loop`) is
    counted once, however often it runs; callbacks, Pallas kernels and other custom calls are not counted at all.

    The program is counted as lowered for the CPU, before any optimisation: the figure is the model's, and the same
    beside a GPU or TPU (whose runtimes count only after compiling). Where JAX has no CPU backend (JAX_PLATFORMS names
    others alone), the compiled program is counted.

    Args:
        fn: a function of pytrees of arrays. Pass what it needs as arguments, parameters too.
        args: arrays, or `jax.ShapeDtypeStruct`s; only shapes and types are read.
        examples: how many examples are in `args`: the batch size.

    Returns:
        FLOPs per example, or None where XLA gives no count.

    Raises:
        ValueError: examples below 1.
    """
    if examples < 1:
        raise ValueError(f"examples is {examples}; it must be at least 1, the number of examples in one call")
    with _cpu() as cpu:
        lowered = _traced(fn, args).lower()
        cost = (lowered if cpu else lowered.compile()).cost_analysis()
    # JAX 0.10 to 0.12 return a dict (without the key where the count is 0) and promise no form; XLA writes a negative
    # number for "unknown".
    if not isinstance(cost, Mapping) or cost.get("flops", 0.0) < 0:
        return None
    return float(cost.get("flops", 0.0)) / examples


def size(tree: Any) -> int:
    """Bytes of the arrays, or `jax.ShapeDtypeStruct`s, of a pytree; random keys count as what they are made of."""
    return sum(_bytes(leaf) for leaf in jax.tree.leaves(tree))


def peak_memory(fn: Callable[..., Any], donated: Any, *kept: Any) -> int:
    """Bytes alive at most while `fn(donated, *kept)` runs, its arguments and results among them; nothing is compiled.

    The program is walked as traced: each array lives from the operation that makes it to the last that reads it, so that
    what a backward pass keeps of the forward pass is counted. A compiler that fuses operations needs less, one that pads
    or copies more: XLA on a CPU takes 0.7 to 1.1 of this for the models of this package.

    Args:
        fn: a function of pytrees of arrays.
        donated: the argument whose memory the results may take over (the state of a training step).
        kept: further arguments, which stay.
    """
    with _cpu():
        traced = _traced(fn, (donated, *kept)).jaxpr.jaxpr
    kept_leaves = traced.invars[len(jax.tree.leaves(donated)) :]
    return _peak(traced, kept_leaves)


@contextlib.contextmanager
def _cpu() -> Iterator[bool]:
    """What is traced here is for the CPU; whether JAX has one."""
    try:
        device = jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        yield False
    else:
        with jax.default_device(device):
            yield True


def _traced(fn: Callable[..., Any], args: Any) -> Any:
    """The program of `fn(*args)`; JAX keeps it while `fn` lives, so that counting and measuring it trace it once."""
    return jax.jit(fn).trace(*_shapes(args))


def _shapes(tree: Any) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)), tree)


def _bytes(array: Any) -> int:
    dtype = array.dtype
    if jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key):
        return math.prod(array.shape) * size(jax.eval_shape(jax.random.key_data, jax.ShapeDtypeStruct((), dtype)))
    return math.prod(array.shape) * dtype.itemsize


def _peak(program: core.Jaxpr, kept: Sequence[core.Var]) -> int:
    """Bytes alive at most in a program, where `kept` of its arguments stay to its end."""
    of = lambda variables: sum(_bytes(v.aval) for v in variables if hasattr(v.aval, "dtype"))
    named = lambda variables: {v for v in variables if not isinstance(v, core.Literal)}
    last = {v: i for i, equation in enumerate(program.eqns) for v in named(equation.invars)}
    last |= dict.fromkeys([*named(program.outvars), *kept, *program.constvars], len(program.eqns))
    alive = of([*program.invars, *program.constvars])
    most = alive
    for i, equation in enumerate(program.eqns):
        # A call's own arguments are alive here already, and its results are counted here.
        inside = max((_peak(p, p.invars) - of(p.invars) - of(p.outvars) for p in _called(equation)), default=0)
        made = of(equation.outvars)
        most = max(most, alive + made + max(inside, 0))
        alive += made
        alive -= of(v for v in {*named(equation.invars), *equation.outvars} if last.get(v, i) == i)
    return most


def _called(equation: core.JaxprEqn) -> list[core.Jaxpr]:
    """The programs that an operation calls: a jitted function, the body of a loop, the branches of a choice."""
    values = [p for value in equation.params.values() for p in (value if isinstance(value, tuple | list) else [value])]
    return [getattr(p, "jaxpr", p) for p in values if isinstance(getattr(p, "jaxpr", p), core.Jaxpr)]


def empty_call() -> float:
    """Seconds that a call of the smallest program takes on this device: what every call takes, whatever it computes."""
    return latency(lambda x: x + 1.0, jnp.zeros(()), repeats=100)


def latency(fn: Callable[..., Any], *args: Any, repeats: int = 20, longest: float = math.inf) -> float:
    """Seconds that one call of the compiled `fn(*args)` takes: the median over `repeats`, each waited for.

    Compilation, the first calls and the transfer of `args` to the device are not in it; the dispatch from Python is.
    The median, for a shared machine's hiccups go in one direction.

    Args:
        fn: a function of pytrees of arrays; compiled here unless it is `jax.jit`'s already.
        args: its arguments; for latency in the usual sense, a batch of one.
        repeats: calls timed.
        longest: seconds after which no further call is timed, once three are.

    Returns:
        Seconds per call.

    Raises:
        ValueError: repeats below 1.
    """
    if repeats < 1:
        raise ValueError(f"repeats is {repeats}; at least 1 is wanted")
    return call_seconds(fn if hasattr(fn, "lower") else jax.jit(fn), *args, repeats=repeats, longest=longest)


def call_seconds(fn: Callable[..., Any], *args: Any, repeats: int = 20, longest: float = math.inf) -> float:
    """As `latency`, of a function that is called as it is: it need not be one of JAX."""
    args = jax.block_until_ready(jax.device_put(args))
    for _ in range(_WARM_UPS):
        jax.block_until_ready(fn(*args))
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(fn(*args))
        seconds.append(time.perf_counter() - start)
        if len(seconds) >= _FEWEST and sum(seconds) >= longest:
            break
    return statistics.median(seconds)
