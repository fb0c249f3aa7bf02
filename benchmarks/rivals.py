"""Who is measured beside kdgan: the step by hand in JAX, with kdgan's modules and with its own, and PyTorch's ways."""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import bare, bare_features, ours
from benchmarks.measure import QUICK, Contestant, Setting, several
from benchmarks.work import Work

PRECISIONS = {"float32": "float32", "tf32": "tensorfloat32"}
PEAK_SIZES = (1024, 2048, 4096, 8192)  # sides of the square matrices whose product is timed


@functools.cache
def pytorch(device: str) -> Any:
    """The module `benchmarks.pytorch`, or None, and it is said, where PyTorch or its part for the device is absent."""
    try:
        from benchmarks import pytorch as module
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        print("PyTorch is not installed (benchmarks/requirements.txt): the rest is measured without it", flush=True)
        return None
    if not module.has_device(device):
        print(f"PyTorch is installed without {device}: the rest is measured without it", flush=True)
        return None
    return module


def set_jax(precision: str) -> None:
    """The precision of float32 matrix products and convolutions, from here on."""
    jax.config.update("jax_default_matmul_precision", PRECISIONS[precision])


def set_precision(setting: Setting) -> None:
    """The same of JAX and, where it is installed, of PyTorch."""
    set_jax(setting.precision)
    if (module := pytorch(setting.device)) is not None:
        module.set_precision(setting.precision)


@contextlib.contextmanager
def in_full(setting: Setting) -> Iterator[None]:
    """Full float32 while equality is checked, whatever precision is timed."""
    set_precision(setting._replace(precision="float32"))
    try:
        yield
    finally:
        set_precision(setting)


def steps(
    work: Work, variables: Any, batches: Sequence[Any], setting: Setting
) -> Mapping[str, tuple[Callable[[], Contestant], Callable[[Any, Any], Any]]]:
    """Name -> (what makes the contestant that starts from `variables`, its `gradients(batch, draws)` there)."""
    hand = by_hand(work)
    found: dict[str, Any] = {
        name: (
            lambda modules=modules: hand.make_steps(work, variables, batches, modules),
            lambda batch, draws, modules=modules: hand.gradients(work, variables, batch, draws, modules),
        )
        for name, modules in (("jax", None), ("jax_modules", ours.modules(work)))
    }
    module = pytorch(setting.device)
    ways = module.ways(work, setting.device) if module and work.game in module.GAMES else ()
    for way in (way for way in ways if not (setting.quick and way == "compile_channels_last")):  # minutes to compile
        found[way] = _of_pytorch(
            functools.cache(lambda way=way: module.Steps(work, way, setting.device)), variables, batches
        )
    return found


def by_hand(work: Work) -> Any:
    """The module that has the step of a piece of work by hand in JAX."""
    return bare_features if work.game in bare_features.OBJECTIVES else bare


def _of_pytorch(build: Callable[[], Any], variables: Any, batches: Sequence[Any]) -> tuple[Callable, Callable]:
    """The two of `steps`, on networks that are built, and compiled, once for both."""

    def make() -> Contestant:
        build().load(variables)
        return build().on(batches)

    def gradients(batch: Any, draws: Any) -> Any:
        build().load(variables)
        return build().gradients(batch, draws)

    return make, gradients


def peak_flops(quick: bool) -> dict[str, Any]:
    """The device's matrix product: FLOP/s at the best of a few sizes, by JAX, in the precision that is measured."""
    product = jax.jit(jnp.matmul)
    found = {}
    # A CPU takes seconds over the largest.
    for size in PEAK_SIZES[:1] if quick else PEAK_SIZES[: 3 if jax.default_backend() == "cpu" else None]:
        a = jax.random.normal(jax.random.key(0), (size, size)) / size**0.5  # so that products keep their size

        def steps(count: int, a=a) -> None:
            x = a
            for _ in range(count):  # one after another: no more than a few matrices lie in memory
                x = product(a, x)
            jax.block_until_ready(x)

        found[size] = 2 * size**3 / several(Contestant(steps), QUICK._replace(block_seconds=0.2))["ms"] * 1e3
    best = max(found, key=lambda size: found[size])
    return {"flops_per_second": found[best], "size": best}
