"""What a stage keeps of its members: in its checkpoints, and when it ends; every array stacked over the seeds."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from kdgan.run.evaluate import entries_of, measured_players
from kdgan.run.population import Population
from kdgan.run.program import BEST, Variables, variables_of

Best = dict[str, dict[str, Any]]  # entry -> {"value", "step", "params", "model_state"}


def first_best(population: Population, validated: bool) -> list[Best]:
    """Each member's best players before any was measured: its first ones; nothing where there is no validation split."""
    if not validated:
        return [{} for _ in population.members]
    trained = measured_players(population.program, trained_only=True)
    return [
        {
            name: jax.device_get({"value": np.float32(-np.inf), "step": np.int32(0), **variables_of(state, name)})
            for name in trained
        }
        for state in population.states()
    ]


def pack(populations: Sequence[Population], best: Sequence[list[Best]]) -> dict[str, Any]:
    """What a checkpoint holds: arm -> {state, best}, stacked over seeds; frozen players stay where they came from."""
    tree = {}
    for population, of_members in zip(populations, best, strict=True):
        states = population.states()
        for arm in population.program.arms:
            rows = [i for i, (_, name) in enumerate(population.members) if name == arm]
            tree[arm] = {
                "state": stack([states[i].split()[0] for i in rows]),
                "best": stack([of_members[i] for i in rows]),
            }
    return tree


def unpack(populations: Sequence[Population], tree: Mapping[str, Any]) -> list[list[Best]]:
    """Load what `pack` made into the populations; returns the best players."""
    best = []
    for population in populations:
        seeds = list(dict.fromkeys(seed for seed, _ in population.members))
        frozen = [state.split()[1] for state in population.states()]
        states = [
            row(tree[arm]["state"], seeds.index(seed)).join(own)
            for (seed, arm), own in zip(population.members, frozen, strict=True)
        ]
        population.load(states)
        best.append([row(tree[arm]["best"], seeds.index(seed)) for seed, arm in population.members])
    return best


def stack(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jax.numpy.stack(leaves), *trees)


def row(stacked: Any, i: int) -> Any:
    """The i-th of the trees that `stack` was given."""
    return jax.tree.map(lambda leaf: leaf[i], stacked)


def outcome(
    populations: Sequence[Population], best: Sequence[list[Best]]
) -> dict[str, dict[int, dict[str, Variables]]]:
    """Arm -> seed -> entry -> variables on the host: every player at the last step, averages, and best by validation."""
    found: dict[str, dict[int, dict[str, Variables]]] = {}
    for population, of_members in zip(populations, best, strict=True):
        for (seed, arm), state, own in zip(population.members, population.states(), of_members, strict=True):
            entries = entries_of(state, tuple(state.params))
            entries |= {
                name + BEST: {"params": kept["params"], "model_state": kept["model_state"]}
                for name, kept in own.items()
            }
            found.setdefault(arm, {})[seed] = jax.device_get(entries)
    return found
