"""The arms that `kdgan.compare` knows by name: a method, its λ's and rates, for any task whose labels the method knows."""

from collections.abc import Callable, Mapping
from typing import Any

from kdgan.direct.given import Given
from kdgan.run.config import ConfigError

TEMPERATURE = 4.0  # Hinton et al. 2015 try 2.5 to 20; 4 is the usual choice of the CIFAR tables
OF_A_DISCRIMINATOR, OF_A_TRAINED_TEACHER = 0.25, 0.1  # their learning rates, as shares of the student's

Fields = dict[str, Any]


def scratch(teacher: Given, rate: float) -> Fields:
    """Labels only."""
    return {"method": {"name": "supervised", "player": "student"}, "lambdas": {"student": {"ce": 1.0}}}


def kd(teacher: Given, rate: float) -> Fields:
    """Soft labels (Hinton et al. 2015): 0.1·CE + 0.9·T²·KL."""
    return {
        "method": {"name": "kd", "temperature": TEMPERATURE},
        "lambdas": {"student": {"ce": 0.1, "kd": 0.9}},
    }


def mimic(teacher: Given, rate: float) -> Fields:
    """The teacher's outputs themselves (Ba and Caruana 2014)."""
    return {"method": {"name": "mimic"}, "lambdas": {"student": {"ce": 0.1, "mimic": 0.9}}}


def kdgan(teacher: Given, rate: float) -> Fields:
    """KDGAN (Wang et al. 2018), α = 0.3, β = 1, γ = 0.001; a teacher without parameters to train stays as it is."""
    arm: Fields = {
        "method": {"name": "kdgan", "distillation": "kl", "temperature": TEMPERATURE},
        "lambdas": {
            "discriminator": {"real": 1.0, "student": 0.3, "teacher": 0.7},
            "teacher": {"ce": 1.0, "kd": 0.001, "adv": 0.7},
            "student": {"ce": 0.1, "kd": 0.9, "adv": 0.3},
        },
        "optimizers": {
            "discriminator": {"learning_rate": float(f"{OF_A_DISCRIMINATOR * rate:.6g}")},
            "teacher": {"learning_rate": float(f"{OF_A_TRAINED_TEACHER * rate:.6g}")},
        },
    }
    if not teacher.trains:
        arm["method"]["teacher_repeats"] = 0
        del arm["lambdas"]["teacher"], arm["optimizers"]["teacher"]
    return arm


PRESETS: Mapping[str, Callable[[Given, float], Fields]] = {"scratch": scratch, "kd": kd, "mimic": mimic, "kdgan": kdgan}


def arms(given: Any, teacher: Given, rate: float) -> dict[str, Fields]:
    """Arm -> its fields, of names and of mappings as a config has them.

    Args:
      given: names, or name -> fields of an arm; a field None takes the preset of that name.
      teacher: of all arms.
      rate: the student's learning rate.

    Raises:
      ConfigError: a name that is no preset, or no arm at all.
    """
    named = dict(given) if isinstance(given, Mapping) else dict.fromkeys([given] if isinstance(given, str) else given)
    if not named:
        raise ConfigError(
            f"arms = {given!r}: one or more of {', '.join(PRESETS)}, or a mapping of fields, are accepted"
        )
    unknown = [name for name, fields in named.items() if fields is None and name not in PRESETS]
    if unknown:
        raise ConfigError(
            f"arms = {given!r}: no arm {unknown[0]!r} by name; there are {', '.join(PRESETS)}; others as a config has them,"
            f" arms={{{unknown[0]!r}: dict(method=dict(name=...), lambdas=dict(student=dict(...)))}}"
        )
    return {name: PRESETS[name](teacher, rate) if fields is None else dict(fields) for name, fields in named.items()}
