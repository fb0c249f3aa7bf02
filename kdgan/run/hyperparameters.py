"""What a method is called with: the hyper-parameters of a config, with schedules for their specs, and what the data say."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optax

from kdgan import models, optim
from kdgan.data import restricted
from kdgan.methods.taught import kind_of
from kdgan.run.inputs import Inputs

# End of a hyper-parameter's name -> (whether a schedule's value is accepted, what its message says).
_WITHIN: Mapping[str, tuple[Callable[[float], bool], str]] = {
    "temperature": (lambda value: value > 0, "a temperature must stay positive; set start, end and no warmup"),
    "epsilon": (lambda value: value >= 0, "a radius must not fall below 0; set start and end"),
    "reversal": (lambda value: value >= 0, "a reversed gradient's λ must not fall below 0; set start and end"),
    "alpha": (lambda value: 0 <= value <= 1, "a share must lie in [0, 1]; set start and end"),
}


def of(name: str, value: Any, steps: int) -> Any:
    """A hyper-parameter as a method takes it: schedules for their specs, in its parts, too; tuples for lists.

    Raises:
      ValueError: a schedule whose values the hyper-parameter cannot have.
    """
    if isinstance(value, Mapping) and "kind" in value:
        scheduled = schedule(value, steps)
        for end, (accepts, message) in _WITHIN.items():
            if name.endswith(end) and not all(accepts(float(scheduled(step))) for step in (0, steps // 2, steps - 1)):
                raise ValueError(f"method.{name} = {dict(value)}: {message}")
        return scheduled
    if isinstance(value, Sequence) and any(isinstance(one, Mapping) for one in value):
        return tuple(_of_part(one, steps) for one in value)
    return models.hashable(value)


def _of_part(spec: Any, steps: int) -> Any:
    return {name: of(name, value, steps) for name, value in spec.items()} if isinstance(spec, Mapping) else spec


def schedule(spec: Mapping, steps: int) -> optax.Schedule:
    """The schedule of a λ or a hyper-parameter, over the steps of its stage."""
    return optim.make_schedule(**{"steps": steps, **spec})


def of_data(inputs: Inputs) -> dict[str, Any]:
    """Arguments of methods that the data give: those of them that a method has, it is given.

    `examples` is the number of those that a seed's batches are drawn from, which `batch["index"]` counts; a stage without
    data has none.
    """
    data, kind = inputs.config, kind_of(inputs.fields)
    said: dict[str, Any] = {"label_kind": kind, "normalisation": {"mean": data.mean, "std": data.std}}
    if inputs.has_training:
        said["examples"] = inputs.examples
    if kind == "class" and "label" in inputs.fields:
        said["label_classes"] = restricted.present(inputs.fields["label"].size, data.classes, data.exemplars_of)
    return said
