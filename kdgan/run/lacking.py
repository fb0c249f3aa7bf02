"""What a method reads of a batch and the data have not, as one line before anything compiles.

A method says which fields it needs by reading them: it is traced on the shapes of a batch (`kdgan/game.py`), and what it
looks up in vain is named here.
"""

from kdgan.data.fields import AGAIN, IMAGE, INDEX, LABEL, TARGET, TARGETS
from kdgan.player import ALL, CACHED, UNLABELLED
from kdgan.run import inputs as run_inputs
from kdgan.run.config import ConfigError
from kdgan.run.inputs import Inputs
from kdgan.run.no_data import PLACE

# What a batch may hold beside the fields of the data.
OF_BATCHES = (IMAGE, INDEX, *TARGETS, AGAIN, UNLABELLED, ALL, CACHED, "noise")


def looked_up(error: KeyError, method: str, inputs: Inputs, where: str) -> ConfigError | None:
    """A field that a method looked up in its batch, as a mistake of the config; None where the key is no field.

    Args:
      error: of the look-up.
      method: its name.
      inputs: the data of its stage.
      where: the arm's place in the config.
    """
    name = error.args[0] if error.args else None
    if not inputs.has_training:
        known = isinstance(name, str) and name in (*inputs.fields, *OF_BATCHES)
        return ConfigError(f"{where}.method = {method!r} reads the field {name!r} {_without_data()}") if known else None
    if name == PLACE and PLACE not in inputs.train.fields:
        return ConfigError(
            f"{where}.method = {method!r} reads {PLACE!r}, which a batch without data has, and the stage has data; data ="
            " None is accepted"
        )
    if name == TARGET and TARGET not in inputs.train.fields:
        there = f"their fields are {', '.join(inputs.train.fields)}"
        why = run_inputs.only_in_test(inputs, TARGET) if TARGET in inputs.lacking else there
        return ConfigError(f"{where}.method = {method!r} learns from the field {TARGET!r} of the data; {why}")
    if name == LABEL and not inputs.has_labels:
        return ConfigError(f"{where}.method = {method!r} learns from labels; {run_inputs.no_labels(inputs)}")
    return None


def hint(message: str, method: str, inputs: Inputs) -> str:
    """What to add to a method's own message that its batch has not some field: why it has not."""
    lacked = next((name for name in (LABEL, TARGET) if f"has no {name!r}" in message), None)
    if lacked is None:
        return ""
    if not inputs.has_training:
        return f" (method {method!r} reads it {_without_data()})"
    if lacked == TARGET:
        return f" ({run_inputs.only_in_test(inputs, TARGET)})" if TARGET in inputs.lacking else ""
    return f" ({run_inputs.no_labels(inputs)})"


def _without_data() -> str:
    return (
        "of the data, and the stage has none (data = None); give it data, or a method that makes what it learns from, as"
        " 'generator_mimic' does"
    )
