"""What is measured of a run's players, by what they are: classifiers, generators, autoencoders.

An entry is a player, or another set of its parameters under a name of its own: the moving average, or the best by
validation.
"""

from collections.abc import Mapping, Sequence

from flax import linen as nn

from kdgan.run.classifiers import Classifiers
from kdgan.run.generators import Generators
from kdgan.run.inputs import Inputs
from kdgan.run.program import AVERAGE, Program, Variables, variables_of
from kdgan.run.schema import Run
from kdgan.run.splits import Splits
from kdgan.state import TrainState

REFERENCE = "teacher"  # agreement is measured with this player
DISAGREEMENTS = 24  # images of a report on which student and teacher disagree
# kind -> the metric by which the best on the validation split is kept, and the sign that makes more better.
SELECTS: Mapping[str, tuple[str, float]] = {
    "classifier": ("accuracy", 1.0),
    "generator": ("fd", -1.0),
    "autoencoder": ("elbo", 1.0),
}


def entries_of(state: TrainState, players) -> dict[str, Variables]:
    """The evaluated entries of a state: `players`, and the moving averages among them."""
    entries = {name: variables_of(state, name) for name in players}
    averages = {name + AVERAGE: {**entries[name], "params": state.ema[name]} for name in players if name in state.ema}
    return {**entries, **averages}


def measured_players(program: Program, trained_only: bool = False) -> tuple[str, ...]:
    """The players of a program that are measured."""
    names = program.method.trained if trained_only else tuple(program.modules)
    return tuple(name for name in names if name in program.kinds)


class Evaluator:
    """Everything that measures, shared by all stages."""

    def __init__(self, run: Run, inputs: Inputs, programs: Mapping[str, Sequence[Program]]):
        self.splits = Splits(run, inputs)
        self.classifiers = Classifiers(run, inputs, self.splits)
        self.generators = Generators(run, inputs, self.splits, programs)

    def measure(self, program: Program, player: str, variables: Variables, split: str) -> dict[str, float]:
        """Metrics of a player with these variables, while training: by its kind."""
        kind = program.kinds[player]
        if kind == "classifier":
            module: nn.Module = program.local_modules[player]
            return self.classifiers.measure(self.classifiers.logits(module, variables, split), split)
        return self.generators.measure(program, player, variables, split)
