"""Drawing images from a trained generator: what `--mode=sample`, the evaluation and a notebook share.

from kdgan.run import sampling

draw = sampling.load("runs/mnist_gan_distill", player="student", arm="fused")
images = draw(jax.random.key(0), 64)                                    # uint8 [64, 28, 28, 1]
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from kdgan import parallel
from kdgan.game import call_module, cast_floats
from kdgan.losses.latents import project
from kdgan.run import claim, files, portions
from kdgan.run import inputs as run_inputs
from kdgan.run import stage as stages
from kdgan.run.checkpoint import Checkpoints
from kdgan.run.config import ConfigError
from kdgan.run.extractors import KINDS
from kdgan.run.program import Program, Variables, program_of
from kdgan.run.schema import Run

BATCH = 250  # images of one call: a last, smaller batch is filled up, so that one program serves


@dataclasses.dataclass(frozen=True)
class Generator:
    """How images are drawn from a player: everything but its parameters.

    Attributes:
      module: Flax module.
      latent: dimension of its noise.
      classes: number of classes it is conditioned on; 0: none.
      method: the module's function that makes an image of noise, where that is not its call.
      mean, std: of the data's pixels: an image of the player becomes image·std + mean, in [0, 1].
      compute_dtype: None for float32.
    """

    module: nn.Module
    latent: int
    classes: int
    method: str | None
    mean: Any
    std: Any
    compute_dtype: Any = None

    def draw(self, variables: Variables, noise: Any, label: Any = None) -> np.ndarray:
        """uint8 images [n, h, w, c] of noise [n, d], where d is at least `latent` (then its projection is taken)."""
        noise = project(jnp.asarray(noise), self.latent)
        label = balanced_labels(len(noise), self.classes) if label is None and self.classes else label
        forward, made = _forward(self), []
        for start in range(0, len(noise), BATCH):
            rows = np.minimum(np.arange(start, start + min(BATCH, len(noise))), len(noise) - 1)
            made.append(np.asarray(forward(variables, noise[rows], None if label is None else label[rows])))
        return np.concatenate(made)[: len(noise)]


def balanced_labels(count: int, classes: int) -> jax.Array:
    """0, 1, ..., k−1, 0, 1, ... [count]."""
    return jnp.arange(count) % classes


@functools.lru_cache(maxsize=32)
def _forward(generator: Generator):
    def forward(variables, noise, label):
        params = variables["params"]
        if generator.compute_dtype is not None:
            params, noise = cast_floats(params, generator.compute_dtype), noise.astype(generator.compute_dtype)
        given = (noise,) if label is None else (noise, label)
        image, _, _ = call_module(
            generator.module, {"params": params, **variables.get("model_state", {})}, *given, train=False,
            method=generator.method,
        )  # fmt: skip
        mean, std = (jnp.asarray(value, jnp.float32) for value in (generator.mean, generator.std))
        unit = image.astype(jnp.float32) * jnp.broadcast_to(std, image.shape) + jnp.broadcast_to(mean, image.shape)
        return jnp.round(255 * jnp.clip(unit, 0, 1)).astype(jnp.uint8)

    return parallel.compiled(forward)


def generator_of(program: Program, player: str, data: Any, num_classes: int, compute_dtype: Any = None) -> Generator:
    """How images are drawn from a player of a program."""
    module = program.local_modules[player]
    as_tuple = lambda value: tuple(value) if isinstance(value, list | tuple) else value
    common: Mapping[str, Any] = {
        "module": module, "mean": as_tuple(data.mean), "std": as_tuple(data.std), "compute_dtype": compute_dtype,
    }  # fmt: skip
    if program.kinds[player] == "autoencoder":
        return Generator(latent=program.latent(player), classes=0, method="generate", **common)
    args, _ = program.inspection.inputs[player]
    classes = num_classes if len(args) > 1 else 0
    return Generator(latent=program.latent(player), classes=classes, method=None, **common)


Draw = Callable[..., np.ndarray]  # draw(key, count, label=None) -> uint8 [count, h, w, c]


def load(
    workdir: str | pathlib.Path, *, player: str | None = None, stage: str | None = None, arm: str | None = None,
    member: int | None = None, average: bool = True,
) -> Draw:  # fmt: skip
    """`draw(key, count, label=None)` of a generator that a run trained: uint8 images [count, h, w, c].

    Args:
      workdir: of a run that has a checkpoint of that stage.
      player: a generator or autoencoder; the one that the stage trains by default, `student` before others.
      stage: the last one that trains the player by default.
      arm: the stage's last one by default.
      member: seed of the run; its first by default.
      average: take the moving average of its parameters where there is one.

    Raises:
      ConfigError: no run or no checkpoint there, or no such player, stage, arm or seed; what there is, is named.
    """
    workdir = files.folder(workdir)
    run = claim.remembered(workdir)
    inputs = run_inputs.load(run)
    name, program, player, arm = _find(run, stages.build_all(run, inputs, read_checkpoints=False), player, stage, arm)
    member = run.seed if member is None else member
    if member not in run.seeds:
        raise ConfigError(f"member {member}: the run has the seeds {', '.join(map(str, run.seeds))}")
    several = portions.stored(workdir / "checkpoints" / name, run.seed)
    portion = next((portion for portion in several if (member, arm) in portion.members), None)
    restored = None if portion is None else Checkpoints(portion.folder).restore_latest()
    if portion is None or restored is None:
        raise ConfigError(
            f"workdir {workdir}: stage {name} has no checkpoint of arm {arm}, seed {member} yet; run --mode=train first"
        )
    state = restored.tree[arm]["state"]
    take = lambda tree: jax.tree.map(lambda leaf: leaf[portion.seeds.index(member)], tree)
    params = state["ema"][player] if average and player in state.get("ema", {}) else state["params"][player]
    variables = {"params": take(params), "model_state": take(state.get("model_state", {}).get(player, {}))}
    compute = stages.COMPUTE[run.parallel.compute]
    generator = generator_of(program, player, inputs.config, inputs.num_classes, compute)

    def draw(key: jax.Array, count: int, label: Any = None) -> np.ndarray:
        if label is not None and not generator.classes:
            raise ConfigError(f"label = {label}: {player} is not conditioned on classes")
        labels = None if label is None else jnp.broadcast_to(jnp.asarray(label, jnp.int32), (count,))
        return generator.draw(variables, jax.random.normal(key, (count, generator.latent)), labels)

    return draw


def _find(
    run: Run, programs: Mapping[str, Any], player: str | None, stage: str | None, arm: str | None
) -> tuple[str, Program, str, str]:
    """(stage, program, player, arm) of the generator that is meant."""
    trained = [
        (name, a, each)
        for name, several in programs.items()
        for a in (arm.name for s in run.stages if s.name == name for arm in s.arms)
        for each in sorted(program_of(several, a).method.trained, key=lambda p: p == "student")
        if program_of(several, a).kinds.get(each) in KINDS
    ]
    wanted = [
        (name, a, each) for name, a, each in trained
        if stage in (None, name) and arm in (None, a) and player in (None, each)
    ]  # fmt: skip
    if not wanted:
        asked = ", ".join(
            f"{k} {v!r}" for k, v in (("player", player), ("stage", stage), ("arm", arm)) if v is not None
        )
        there = "; ".join(f"{name}/{a}: {each}" for name, a, each in trained) or "none"
        raise ConfigError(
            f"no generator for {asked or 'this run'}; its trained generators (stage/arm: player) are {there}"
        )
    name, a, each = wanted[-1]
    return name, program_of(programs[name], a), each, a
