"""How long players take on this device: wall time of a call over its examples, for one and for many, beside an empty call.

Nothing is subtracted. A call that takes little longer than an empty one times the call and not the player: a table marks it.
"""

import functools
from typing import Any

import jax
from flax import linen as nn

from kdgan.metrics import cost
from kdgan.run import costs, on_host
from kdgan.run.program import Program, Variables

BATCHES = (1, 64)  # examples of a call
LONGEST = 2.0  # seconds that one player's calls of one batch are timed


class Latencies:
    """Latencies of a run's players; those of the same module and inputs are timed once, whatever their parameters."""

    def __init__(self) -> None:
        self._known: dict[tuple[nn.Module, str], dict[str, float]] = {}
        self._empty: float | None = None

    def of(self, program: Program, name: str, variables: Variables) -> dict[str, Any]:
        """Milliseconds: `latency_ms`, examples of a call -> its time for each of them; `empty_call_ms`, of an empty call."""
        key = (
            program.local_modules[name],
            str(jax.tree.map(lambda leaf: leaf.shape[1:], program.inspection.inputs[name])),
        )
        if self._empty is None:
            self._empty = cost.empty_call()
        if key not in self._known:
            self._known[key] = {str(n): 1e3 * _seconds(program, name, variables, n) / n for n in BATCHES}
        return {"latency_ms": self._known[key], "empty_call_ms": 1e3 * self._empty}


def _seconds(program: Program, name: str, variables: Variables, examples: int) -> float:
    forward, inputs = costs.forward_of(program, name, examples)
    full = jax.device_put({"params": variables["params"], **variables["model_state"]})
    module = program.local_modules[name]
    call = functools.partial(cost.call_seconds if on_host.runs_outside(module) else cost.latency, longest=LONGEST)
    return call(on_host.compiled(module, forward), full, *inputs)
