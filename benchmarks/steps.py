"""Suites kd, kdgan, gan, images and features: one step of a piece of work, kdgan's beside everyone else's.

Before anything is timed, every move's loss and gradient are compared on the same weights, batch and random numbers; and
one step of kdgan and of the hand-written JAX must end at the same parameters where it draws nothing. Beside the ratios
stand the control (the hand-written step beside itself: the spread that equal work has here) and what a fresh process of
each takes: compile time and memory.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax

from benchmarks import fresh, ours, parity, rivals, work
from benchmarks.measure import Setting, compare

SUITES = {
    "kd": ("mlp", "mlp_lenet", "resnet20", "resnet8x4", "host"),
    "kdgan": ("kdgan",),
    "gan": ("dcgan",),
    "images": ("denoise",),
    "features": ("crd", "fsp"),
}


def measure(suite: str, setting: Setting, say: Callable[[str], None]) -> dict[str, Any]:
    """Piece of work -> its row; and "peak", the device's matrix product."""
    chosen = [work.named(name, quick=setting.quick) for name in setting.of(SUITES[suite])]
    pieces = {piece.name: measure_piece(piece, setting, say) for piece in chosen}
    return {"peak": rivals.peak_flops(setting.quick), "pieces": pieces}


def measure_piece(piece: work.Work, setting: Setting, say: Callable[[str], None]) -> dict[str, Any]:
    """FLOPs of a step, and of every rival its parity with kdgan, its speed beside kdgan's, and its fresh process."""
    state, batches = ours.make_state(piece), work.batches(piece)
    variables = ours.variables_of(state)
    per_call = 1 if setting.device == "cpu" else 10  # as a run has it
    draws = ours.draws(piece, state)
    with rivals.in_full(setting):
        expected, *rounded = ours.gradients_of_each(piece, state, [batches[0], *work.rounded_otherwise(batches[0])])
    rounding = max(parity.distance(expected[1], gradients) for _, gradients in rounded)
    row: dict[str, Any] = {
        "title": piece.title, "batch": piece.batch, "flops": ours.flops(piece, state), "steps_per_call": per_call,
        "rounding": rounding, "rivals": {}, "fresh": {},
    }  # fmt: skip
    contestant = ours.make_steps(piece, state, batches, per_call=per_call)
    for name, (make, gradients) in rivals.steps(piece, variables, batches, setting).items():
        try:
            with rivals.in_full(setting):
                parity_found = parity.check(expected, gradients(batches[0], draws), f"{piece.name}, {name}", rounding)
            found = compare(contestant, make(), setting.effort)
        except AssertionError as error:  # what was measured before it stands; the command fails at its end
            found, parity_found = {"error": str(error).splitlines()[0], "refused": True}, {}
        except Exception as error:  # a way that this machine lacks (no C++ compiler, say) is a row of its own
            found, parity_found = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}, {}
        row["rivals"][name] = {**found, "parity": parity_found}
        say(f"{piece.name:10s} {name:22s} {tell(row['rivals'][name])}")
    hand = rivals.by_hand(piece)
    row["control"] = compare(*(hand.make_steps(piece, variables, batches) for _ in range(2)), setting.effort)
    if piece.game in ("kd", "fsp", "restore"):
        try:
            row["difference_after_a_step"] = after_a_step(piece, state, variables, batches)
        except AssertionError as error:  # the times stand, and whoever reads them should know
            row["difference_after_a_step"] = str(error)
            say(f"{piece.name:10s} after a step parameters are not those of JAX by hand: {error}")
    if per_call > 1:
        row["one_step_a_call"] = compare(
            ours.make_steps(piece, state, batches), hand.make_steps(piece, variables, batches), setting.effort
        )
    for way in in_fresh_processes(piece, row["rivals"], setting.quick) if setting.fresh else ():
        if "error" not in row["rivals"].get(way, {}):
            row["fresh"][way] = fresh.measure(way, piece, setting)
            say(f"{piece.name:10s} {way:22s} {tell_fresh(row['fresh'][way])}")
    return row


def refused(part: Mapping[str, Any]) -> list[str]:
    """Who computed something else than kdgan, by piece of work: empty unless something is wrong."""
    found = []
    for name, row in part.get("pieces", {}).items():
        found += [f"{name}, {rival}" for rival, of in row["rivals"].items() if of.get("refused")]
        if isinstance(row.get("difference_after_a_step"), str):
            found.append(f"{name}, jax after a step")
    return found


def in_fresh_processes(piece: work.Work, names: Iterable[str], quick: bool) -> list[str]:
    """Who is started anew for compile time and memory; a quick run only sees that it works."""
    if piece.name in ("host", *SUITES["features"]) or (quick and piece.name != "mlp"):
        return []
    return [way for way in ("kdgan", *names) if way != "jax_modules" and not (quick and way in ("jax", "compile"))]


def after_a_step(piece: work.Work, state: Any, variables: Any, batches: Any) -> float:
    """The largest difference of the trained parameters after one step by kdgan and by hand.

    Raises:
      AssertionError: more than rounding.
    """
    both = ours.make_steps(piece, state, batches), rivals.by_hand(piece).make_steps(piece, variables, batches)
    for contestant in both:
        contestant.steps(1)
    rate = max(optimizer.learning_rate for optimizer in piece.optimizers.values())
    params = [jax.device_get(contestant.params()) for contestant in both]
    return parity.check_params(*params, rate=rate, steps=1, who=piece.name)


def tell(found: dict[str, Any]) -> str:
    """A comparison in a line."""
    if "error" in found:
        return found["error"]
    low, high = found["speedup"]["interval95"]
    return (
        f"kdgan {found['kdgan_ms']:9.3f} ms  other {found['other_ms']:9.3f} ms"
        f"  × {found['speedup']['median']:.3f} ({low:.3f} .. {high:.3f})"
    )


def tell_fresh(found: dict[str, Any]) -> str:
    return (
        f"fresh process: compile {found['compile_seconds']:.1f} s, first step after {found['to_first_step_seconds']:.1f} s,"
        f" peak {found['peak_mib']:.0f} MiB ({found['before_mib']:.0f} before)"
    )
