"""Suite features: the steps of CRD and FSP beside the same by hand; and what features cost that no term reads.

The last is soft labels (`kd`) of networks that are asked for the features of their stages, too: what a part of `combine`
that has ended does, or one whose λ is 0. It is to be the very program of `kd`.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax

from benchmarks import ours, steps, work
from benchmarks.measure import Setting, compare
from kdgan import methods
from kdgan.methods.taught import Part, as_method


@as_method
def kd_asked(*, features: Sequence[str], temperature: float = 4.0) -> Part:
    """`kd` whose student and teacher give features that nobody reads."""
    part = methods.kd.part(temperature=temperature)  # type: ignore[attr-defined]
    return dataclasses.replace(part, features=tuple(features), targets=tuple(features))


def measure(setting: Setting, say: Callable[[str], None]) -> dict[str, Any]:
    """As `steps.measure`; and "asked"."""
    part = steps.measure("features", setting, say)
    part["asked"] = asked(work.named("fsp", quick=setting.quick), setting)
    say(f"{'kd':10s} {'features not read':22s} {steps.tell(part['asked'])}")
    return part


def asked(piece: work.Work, setting: Setting) -> dict[str, Any]:
    """`kd` on the networks of `piece` with features asked for beside `kd`; whether it is the same program."""
    features, soft = piece.hyperparameters["features"], {"ce": 0.1, "kd": 0.9}
    alone = dataclasses.replace(
        piece, game="kd", hyperparameters={"temperature": 4.0}, lambdas={"student": soft}
    )  # fmt: skip
    more = dataclasses.replace(alone, game=f"{__name__}.kd_asked", hyperparameters={"features": features})
    both, programs = (more, alone), []
    for one in both:
        programs.append(jax.jit(ours.pure_step(one)).lower(ours.make_state(one), ours.example(one)).as_text())
    batches = work.batches(alone)
    found = compare(*(ours.make_steps(one, ours.make_state(one), batches) for one in both), setting.effort)
    return {**found, "features": list(features), "same_program": programs[0] == programs[1]}
