"""Suite epoch: a whole epoch with its input pipeline beside the bare step, and beside PyTorch's.

The work is a step of a few milliseconds, where an input pipeline shows: MLP 800-800 ← LeNet on 60,000 images. A block is an
eighth of an epoch, long beside what a pipeline prepares ahead while another's block runs; the next goes on where it ended,
so that from eight blocks on there are the ends of epochs too.

kdgan's pipelines: the data set on the device, indexed in the step, and the same set streamed from the host. Beside them:
kdgan's step on batches that lie on the device already; the loop by hand in JAX; PyTorch, its set on the device too, and
with its `DataLoader`.
"""

from collections.abc import Callable
from typing import Any

import jax

from benchmarks import bare, ours, parity, rivals, runs, work
from benchmarks.measure import Setting, compare
from benchmarks.steps import tell

PIECE, EXAMPLES = "mlp_lenet", 60_000
PARTS = 8  # blocks of an epoch


def measure(setting: Setting, say: Callable[[str], None]) -> dict[str, Any]:
    """Pipeline -> rival -> comparison over blocks of a part of an epoch."""
    piece = work.named(PIECE, quick=setting.quick)
    image, label = work.data_set(piece, 16 * piece.batch if setting.quick else EXAMPLES)
    state, batches = ours.make_state(piece), work.batches(piece)
    variables = ours.variables_of(state)
    made: dict[str, Any] = {"title": piece.title, "examples": len(image), "pipelines": {}}
    made["difference_after_a_call"] = check_run(piece, state, variables, image, label)
    for pipeline, on_device in (("on_device", True), ("streamed", False)):
        population, _ = runs.make_population(piece, state, image, label, on_device=on_device)
        loop = runs.contestant(piece, population)
        per_call = loop.per_call
        length = -(-len(image) // (piece.batch * per_call * PARTS)) * per_call
        others = {"step": lambda per_call=per_call: ours.make_steps(piece, state, batches, per_call=per_call)}
        if on_device:
            others["jax"] = lambda: bare.make_epochs(piece, variables, image, label)
        for name, make in {**others, **of_pytorch(piece, variables, image, label, setting, on_device)}.items():
            found = compare(loop, make(), setting.effort, steps=length)
            made["pipelines"].setdefault(pipeline, {})[name] = found
            say(f"{piece.name:10s} {pipeline:10s} {name:12s} {tell(found)}")
    return made


def of_pytorch(piece, variables, image, label, setting: Setting, on_device: bool) -> dict[str, Callable]:
    """PyTorch's loops over the same set: on the device beside kdgan's on the device, loaded beside streamed."""
    module = rivals.pytorch(setting.device)
    make = lambda way: module.make_epochs(piece, way, setting.device, image, label, variables, loader=not on_device)
    return {way: lambda way=way: make(way) for way in ("eager", "compile")} if module else {}


def check_run(piece: work.Work, state: Any, variables: Any, image: Any, label: Any) -> float:
    """The largest difference of the student's parameters after a call of a run's loop and of the loop by hand.

    Raises:
      AssertionError: more than rounding.
    """
    population, inputs = runs.make_population(piece, state, image, label)
    ran = runs.contestant(piece, population)
    by_hand = bare.make_epochs(piece, variables, image, label, runs.indices(piece, population, inputs))
    ran.steps(ran.per_call)
    by_hand.steps(ran.per_call)
    rate = piece.optimizers["student"].learning_rate
    params = (jax.device_get(each.params()) for each in (ran, by_hand))
    return parity.check_params(*params, rate=rate, steps=ran.per_call, who="a run's loop")
