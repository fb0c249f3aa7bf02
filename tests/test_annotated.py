"""Arguments that a config names, against the annotations of the functions that take them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from kdgan import annotated, evaluators, methods


def takes(
    *, flag: bool = True, count: int | None = 1, rate: float | Callable = 0.1, names: Sequence[str] | Mapping[str, str] = (),
    anything: Any = None, bare=None, listed: list[int] | None = None,
):  # fmt: skip
    return "taken"


@pytest.mark.parametrize(
    "values",
    [
        dict(flag=False, count=None, rate=2, names=["a"]),
        dict(flag=np.bool_(1), count=np.int64(3), rate=np.float32(2), names={"a": "b"}),
        dict(rate=jnp.ones(()), anything=object(), bare="x", listed=3),
        dict(rate=lambda step: step),
    ],
)
def test_what_an_annotation_admits_is_taken(values):
    assert annotated.called(takes, values) == "taken"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (dict(flag="no"), "m.flag = 'no': True or False is accepted"),
        (dict(flag=1), "m.flag = 1: True or False is accepted"),
        (dict(count=True), "m.count = True: a whole number or None is accepted"),
        (dict(count=1.5), "m.count = 1.5: a whole number or None is accepted"),
        (dict(rate=True), "m.rate = True: a finite number or a schedule is accepted"),
        (dict(rate=float("nan")), "m.rate = nan: a finite number or a schedule is accepted"),
        (dict(rate="4"), "m.rate = '4': a finite number or a schedule is accepted"),
        (dict(names="conv1"), "m.names = 'conv1': a list or a mapping is accepted"),
    ],
)
def test_what_it_does_not_admit_is_one_line_with_the_argument(values, message):
    with pytest.raises(ValueError, match=r"^m") as error:
        annotated.called(takes, values, "m.")
    assert str(error.value) == message


def test_a_functions_own_words_stand_where_they_name_the_argument():
    def strict(*, count: int):
        if count < 3:
            raise ValueError(f"m.count = {count}: 3 or more is accepted")
        return count + None

    with pytest.raises(ValueError, match=r"^m.count = 1.5: 3 or more is accepted$"):
        annotated.called(strict, dict(count=1.5), "m.")
    with pytest.raises(ValueError, match=r"^m.count = 3.5: a whole number is accepted$"):
        annotated.called(strict, dict(count=3.5), "m.")
    with pytest.raises(TypeError):
        annotated.called(strict, dict(count=4), "m.")


@pytest.mark.parametrize(
    ("build", "name", "arguments"),
    [
        (methods.build, "dafl", dict(joint="no")),
        (methods.build, "zskt", dict(temperature="4")),
        (methods.build, "lwf", dict(old=5)),
        (methods.build, "fast", dict(inner_rate=float("inf"))),
        (methods.build, "virtual", dict(latent=3, images=3_000_000_000)),
        (evaluators.build, "incremental", dict(tasks=((0,), (1,)), compare=True)),
        (evaluators.build, "robust", dict(epsilon=None)),
        (evaluators.build, "answers", dict(seed=1.5)),
    ],
)
def test_methods_and_evaluators_refuse_what_they_could_not_compute_with(build, name, arguments):
    wrong = next(reversed(arguments))
    with pytest.raises(ValueError, match=f"{wrong} = ") as error:
        build(name, **arguments)
    assert "accepted" in str(error.value)
    assert "\n" not in str(error.value)
