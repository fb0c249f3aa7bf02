"""Adapters against NumPy, their pairs and refusals, in the engine; and functions as frozen players."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan.game import Method, Move, bind, inspect_method
from kdgan.models import CNN, Adapter, Function, build


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def test_each_feature_is_mapped_to_its_partner_in_order():
    student = {"stage1": draw(0, 2, 4, 4, 3), "stage2": draw(1, 2, 5)}
    teacher = {"block1/sum": draw(2, 2, 4, 4, 6), "block2": draw(3, 2, 7)}
    adapter = Adapter()
    variables = adapter.init(jax.random.key(0), student, teacher)
    out = adapter.apply(variables, student, teacher)
    layers = variables["params"]
    assert layers.keys() == {"block1-sum", "block2"}
    assert {path: value.shape for path, value in out.items()} == {"block1/sum": (2, 4, 4, 6), "block2": (2, 7)}
    for mine, theirs, layer in [("stage1", "block1/sum", "block1-sum"), ("stage2", "block2", "block2")]:
        expected = np.float64(student[mine]) @ np.float64(layers[layer]["kernel"]) + np.float64(layers[layer]["bias"])
        np.testing.assert_allclose(out[theirs], expected, rtol=1e-5, atol=1e-6)
    # The teacher lends its shapes and nothing else.
    np.testing.assert_array_equal(
        adapter.apply(variables, student, jax.tree.map(jnp.zeros_like, teacher))["block2"], out["block2"]
    )


def test_sides_are_resized_to_the_teachers():
    # Bilinear resizing keeps a plane of values: away from the edge pixel i of n lands on (i + ½)·h/n − ½.
    rows = jnp.broadcast_to(jnp.arange(4.0)[None, :, None, None], (1, 4, 4, 1))
    adapter, target = Adapter(), {"a": jnp.zeros((1, 8, 6, 1))}
    variables = {"params": {"a": {"kernel": jnp.full((1, 1), 2.0), "bias": jnp.full(1, 0.5)}}}
    out = adapter.apply(variables, {"a": rows}, target)["a"]
    assert out.shape == (1, 8, 6, 1)
    expected = 2 * np.clip((np.arange(8) + 0.5) / 2 - 0.5, 0, 3) + 0.5
    np.testing.assert_allclose(out[0, :, :, 0], np.repeat(expected[:, None], 6, axis=1), rtol=1e-6)
    smaller = adapter.apply(variables, {"a": jnp.ones((1, 4, 4, 1))}, {"a": jnp.zeros((1, 2, 3, 1))})["a"]
    np.testing.assert_allclose(smaller, np.full((1, 2, 3, 1), 2.5), rtol=1e-6)


def test_pairs_by_name():
    student = {"stem": draw(0, 2, 3), "stage1": draw(1, 2, 4)}
    teacher = {"stage1": draw(2, 2, 5), "stage2": draw(3, 2, 6)}
    adapter = build("adapter", pairs=[["stem", "stage1"], ["stage1", "stage2"]])
    hash(adapter)
    shapes = jax.eval_shape(adapter.init, jax.random.key(0), student, teacher)["params"]
    assert shapes["stage1"]["kernel"].shape == (3, 5)
    assert shapes["stage2"]["kernel"].shape == (4, 6)
    # By position they would be other pairs once JAX has sorted the paths, which is refused rather than done.
    with pytest.raises(
        ValueError, match=r"pairs change .*Adapter.pairs = \[\('stem', 'stage1'\), \('stage1', 'stage2'\)\]"
    ):
        Adapter().init(jax.random.key(0), student, teacher)


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        ({"a": (2, 3)}, {"a": (2, 4), "b": (2, 4)}, "student's features a and the teacher's a, b; it accepts one"),
        ({}, {}, "student's features none and the teacher's none"),
        ({"a": (2, 3)}, {"b": (2, 4, 4, 3)}, r"student's 'a' of shape \(2, 3\) for the teacher's 'b' of shape"),
        ({"a": (2, 3)}, {"b": (3, 3)}, r"'b' of shape \(3, 3\)"),
        ({"a": (2, 3, 4)}, {"b": (2, 3, 4)}, r"it accepts \[b, h, w, c\]"),
    ],
)
def test_features_that_do_not_pair_are_refused(student, teacher, message):
    features = [{path: jnp.zeros(shape) for path, shape in side.items()} for side in (student, teacher)]
    with pytest.raises(ValueError, match=message):
        Adapter().init(jax.random.key(0), *features)


def test_pairs_are_checked():
    with pytest.raises(ValueError, match=r"Adapter.pairs = .* it accepts pairs"):
        Adapter(pairs=[["a", "b", "c"]])
    with pytest.raises(ValueError, match="each path of the teacher once"):
        Adapter(pairs=[["a", "c"], ["b", "c"]])
    with pytest.raises(ValueError, match=r"Adapter.pairs names \('a', 'c'\), but it got .* a and the teacher's b"):
        Adapter(pairs=[["a", "c"]]).init(jax.random.key(0), {"a": jnp.zeros((2, 3))}, {"b": jnp.zeros((2, 3))})


def test_it_moves_together_with_the_student():
    paths = ("stage1", "stage2")

    def terms(players, batch, key):
        _, mine = players.student(batch["image"], features=paths)
        _, theirs = players.teacher(batch["image"], features=paths)
        adapted = players.adapter(mine, theirs)
        return {"hint": sum(jnp.mean((adapted[path] - theirs[path]) ** 2, axis=(1, 2, 3)) for path in paths)}

    modules = {"student": CNN((2, 3), 4), "teacher": CNN((5, 6), 4), "adapter": Adapter()}
    batch = {"image": jax.ShapeDtypeStruct((2, 8, 8, 1), jnp.float32)}
    found = inspect_method(Method(Move(("student", "adapter"), terms)), modules, batch)
    args, kwargs = found.inputs["adapter"]
    shapes = jax.eval_shape(modules["adapter"].init, jax.random.key(0), *args, **kwargs)["params"]
    assert {path: layer["kernel"].shape for path, layer in shapes.items()} == {"stage1": (2, 5), "stage2": (3, 6)}


def test_a_function_is_a_frozen_player():
    def shift(noise):
        return noise[:, None, None, :] + 1.0

    noise = draw(0, 2, 3)
    module = Function(shift)
    assert module.init(jax.random.key(0), noise) == {}
    assert hash(module) == hash(build("kdgan.models.Function", function=shift))
    players = bind({"teacher": module}, {"teacher": {}}, {}, step=0, key=jax.random.key(0), trained=(), moving=())
    np.testing.assert_array_equal(players.teacher(noise), noise[:, None, None, :] + 1.0)

    def terms(players, batch, key):
        return {
            "l2": jnp.mean((players.teacher(batch["image"][:, 0, 0]) - 1.0) ** 2)
            + 0 * players.student(batch["image"]).mean()
        }

    batch = {"image": jax.ShapeDtypeStruct((2, 8, 8, 1), jnp.float32)}
    found = inspect_method(Method(Move("student", terms)), {"teacher": module, "student": CNN((2, 3), 4)}, batch)
    assert found.outputs["teacher"].shape == (2, 1, 1, 1)
