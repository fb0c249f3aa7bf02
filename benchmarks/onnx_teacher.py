"""What a frozen ONNX teacher costs in a step, beside the same network in Flax, and with its outputs computed beforehand.

    python -m benchmarks.onnx_teacher                      # resnet8 learns from resnet20, batches of 64 images 32x32x3

It needs the packages of requirements-export.txt, which write the teacher's file. The two take turns in blocks, as everything
here is measured (`benchmarks/measure.py`); a ratio below 1 says that the step with the file is the faster one.
"""

import argparse
import pathlib
import tempfile
from typing import Any

import jax
import numpy as np
import optax
from flax import linen as nn

from benchmarks.measure import Contestant, Effort, compare, spread
from kdgan import methods, models, parallel
from kdgan.state import TrainState
from kdgan.step import make_train_step

IMAGE = (32, 32, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default="resnet20")
    parser.add_argument("--student", default="resnet8")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=20)
    asked = parser.parse_args()
    effort = Effort(blocks=asked.blocks)
    teacher, student = models.build(asked.teacher), models.build(asked.student)
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.normal(size=(asked.batch, *IMAGE)).astype(np.float32),
        "label": rng.integers(0, 10, asked.batch).astype(np.int32),
    }
    variables = jax.jit(teacher.init)(jax.random.key(0), batch["image"])
    with tempfile.TemporaryDirectory() as folder:
        path = write(teacher, variables, pathlib.Path(folder) / "teacher.onnx")
        file = models.build(f"onnx:{path}")
        given = jax.jit(file.apply)({}, batch["image"]), jax.jit(teacher.apply)(variables, batch["image"])
        print(f"largest difference of the two teachers' logits: {np.abs(given[0] - given[1]).max():.1e}")
        cached = {**batch, "cached": {"teacher": np.asarray(given[0])}}
        in_flax = contestant(student, teacher, variables, batch)
        in_file = contestant(student, file, {}, batch)
        for name, ours, other in (
            ("ONNX in the step / Flax in the step", in_flax, in_file),
            ("cached / Flax in the step", in_flax, contestant(student, file, {}, cached)),
            (
                "cached ONNX / cached Flax",
                contestant(student, teacher, variables, cached),
                contestant(student, file, {}, cached),
            ),
        ):
            tell(name, compare(ours, other, effort))


def tell(name: str, found: dict[str, Any]) -> None:
    ratio = spread(np.asarray(found["speedups"]))
    low, high = ratio["interval95"]
    print(
        f"{name}: {ratio['median']:.3f} ({low:.3f} .. {high:.3f}) of {found['other_ms']:.1f} and {found['kdgan_ms']:.1f} ms,"
        f" {found['blocks']} blocks",
        flush=True,
    )


def write(module: nn.Module, variables: Any, path: pathlib.Path) -> pathlib.Path:
    """The network of a module as an ONNX file that takes images [n, h, w, c]."""
    import jax2onnx
    import onnx

    model = jax2onnx.to_onnx(lambda image: module.apply(variables, image), [("n", *IMAGE)], opset=21)
    del model.graph.value_info[:]  # behind batch norm it notes other shapes than there are
    onnx.save(model, path)
    return path


def contestant(student: nn.Module, teacher: nn.Module, variables: Any, batch: dict[str, Any]) -> Contestant:
    """Steps of a student that learns from this teacher, Adam, on one batch."""
    method, modules = methods.build(name="kd"), {"student": student, "teacher": teacher}
    params = {"teacher": variables.get("params", {})}
    state = TrainState.create(
        method, modules, {"student": optax.adam(1e-3)}, {k: v for k, v in batch.items() if k != "cached"},
        key=jax.random.key(1), lambdas={"student": {"ce": 0.1, "kd": 0.9}}, params=params,
        model_state={"teacher": {kind: tree for kind, tree in variables.items() if kind != "params"}},
    )  # fmt: skip
    if "cached" in batch:
        state, _ = state.set_apart(["teacher"])
    step = parallel.jit(make_train_step(method, modules, {"student": optax.adam(1e-3)}))

    def steps(count: int) -> None:
        nonlocal state
        for _ in range(count):
            state, metrics = step(state, batch)
        jax.block_until_ready(metrics)

    return Contestant(steps)


if __name__ == "__main__":
    main()
