"""Suite images: a restorer's step, the same distilled from a cached teacher, and whole images a second.

The step stands beside everyone else's as those of the suite kd (`steps.py`). The distilled step has the teacher's outputs in
its batch, as a run with `cached=("teacher",)` has them; making them is not counted. Whole images are bytes in and bytes out,
one a call, as `restore(image)` takes them; the same bytes come from all but where rounding ties.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import bare_models, ours, rivals, steps, work
from benchmarks.measure import Contestant, Setting, compare
from kdgan import methods, parallel, tiling
from kdgan.state import TrainState
from kdgan.step import make_train_step

PIECE, SIDE = "denoise", 512


def measure(setting: Setting, say: Callable[[str], None]) -> dict[str, Any]:
    """As `steps.measure`; and "cached" and "inference"."""
    piece = work.named(PIECE, quick=setting.quick)
    part = steps.measure("images", setting, say)
    supervised = ours.make_steps(piece, ours.make_state(piece), work.batches(piece))
    part["cached"] = compare(distilled(piece), supervised, setting.effort)
    say(f"{piece.name:10s} {'cached teacher':22s} {steps.tell(part['cached'])}")
    part["inference"] = inference(piece, setting, say)
    return part


def distilled(piece: work.Work) -> Contestant:
    """Kdgan's step towards the clean image and a teacher's outputs, which come with the batch."""
    method = methods.build("restore_distill", loss="l2")
    modules = {**ours.modules(piece), "teacher": ours.modules(piece)["student"]}  # its step runs none of it
    batches = [{**batch, "cached": {"teacher": batch["target"]}} for batch in work.batches(piece)]
    example = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), batches[0])
    rules = ours.optimizers(piece)
    state = TrainState.create(
        method, modules, rules, example, key=jax.random.key(0), lambdas={"student": {"target": 0.5, "teacher": 0.5}},
        params={"teacher": {}},
    )  # fmt: skip
    state = state.replace(params=ours.filled(state.params))
    step, kept = parallel.jit(make_train_step(method, modules, rules)), [jax.tree.map(jnp.copy, state)]
    on_device, done = jax.device_put(batches), [0]

    def advance(count: int) -> None:
        state = kept[0]
        for _ in range(count):
            state, _ = step(state, on_device[done[0] % len(on_device)])
            done[0] += 1
        kept[0] = jax.block_until_ready(state)

    return Contestant(advance)


def inference(piece: work.Work, setting: Setting, say: Callable[[str], None]) -> dict[str, Any]:
    """Rival -> comparison on one image of bytes, an image a step."""
    side = 64 if setting.quick else SIDE
    variables = ours.variables_of(ours.make_state(piece))
    image = np.random.default_rng(5).integers(0, 256, (side, side, piece.image[2]), np.uint8)
    restore = in_kdgan(piece, variables)
    with rivals.in_full(setting):
        expected = restore(image)
    made: dict[str, Callable] = {"jax": by_hand(piece, variables)}
    module = rivals.pytorch(setting.device)
    for way in module.ways(piece, setting.device) if module else ():
        made[way] = module.make_restorer(piece, way, setting.device, variables)
    compared: dict[str, Any] = {}
    for name, other in made.items():
        try:
            with rivals.in_full(setting):
                check(expected, other(image), name)
            compared[name] = compare(contestant(restore, image), contestant(other, image), setting.effort)
        except Exception as error:  # a way that this machine lacks is a row of its own
            compared[name] = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        say(f"{piece.name:10s} {name:22s} {steps.tell(compared[name])}")
    return {"title": piece.title, "side": side, "rivals": compared}


def in_kdgan(piece: work.Work, variables: Any) -> Callable[[np.ndarray], np.ndarray]:
    """As `restore(image)` runs it."""
    module, channels = ours.modules(piece)["student"], piece.image[2]
    tiler = tiling.Tiler(module.apply, variables["student"], channels)

    def restore(image: np.ndarray) -> np.ndarray:
        plan = tiler.plan((image.shape[0], image.shape[1]))
        ((_, _, block),) = tiler.blocks(plan, lambda rows, columns: image[rows, columns], np.uint8)
        return block

    return restore


def by_hand(piece: work.Work, variables: Any) -> Callable[[np.ndarray], np.ndarray]:
    module, on_device = bare_models.modules(piece)["student"], jax.device_put(variables["student"])

    @jax.jit
    def restored(variables, image):
        made = module.apply(variables, image[None].astype(jnp.float32) / 255)[0]
        return jnp.round(255 * jnp.clip(made, 0, 1)).astype(jnp.uint8)

    return lambda image: np.asarray(restored(on_device, image))


def contestant(restore: Callable[[np.ndarray], np.ndarray], image: np.ndarray) -> Contestant:
    def run(count: int) -> None:
        for _ in range(count):
            restore(image)

    return Contestant(run)


def check(expected: np.ndarray, made: np.ndarray, who: str) -> None:
    """The same bytes but for a thousandth, which a tie of rounding changes by one.

    Raises:
      AssertionError: otherwise.
    """
    apart = np.abs(expected.astype(int) - made)
    assert apart.max() <= 1, f"{who}: a byte differs by {apart.max()}"
    assert (apart > 0).mean() <= 1e-3, f"{who}: {(apart > 0).mean():.2%} of the bytes differ"
