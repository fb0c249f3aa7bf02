"""Learned adapters between features: shapes by pair, what they start as, batch statistics, in the engine, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan.game import Method, Move, inspect_method
from kdgan.losses import review
from kdgan.models import CNN, Paraphraser, Regressor, ReviewFusion, Translator, Variational, build
from kdgan.models.review_fusion import Fusion


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


STUDENT = {"stage1": draw(0, 2, 4, 4, 3), "stage2": draw(1, 2, 2, 2, 5)}
TEACHER = {"block1/sum": draw(2, 2, 4, 4, 6), "block2": draw(3, 2, 2, 2, 4)}
ADAPTERS = {"regressor": Regressor(), "review_fusion": ReviewFusion(), "variational": Variational()}
ALL = pytest.mark.parametrize("name", ADAPTERS)


@ALL
def test_features_come_in_the_teachers_shapes_and_the_teacher_lends_nothing_else(name):
    adapter, kind = ADAPTERS[name], type(ADAPTERS[name]).__name__
    assert build(name) == adapter
    hash(build(name, pairs=[["stage1", "block1/sum"], ["stage2", "block2"]]))
    variables = jax.jit(adapter.init)(jax.random.key(0), STUDENT, TEACHER)
    run = jax.jit(adapter.apply)
    adapted = run(variables, STUDENT, TEACHER)
    features = adapted[0] if name == "variational" else adapted
    assert {path: value.shape for path, value in features.items()} == {k: v.shape for k, v in TEACHER.items()}
    jax.tree.map(np.testing.assert_array_equal, adapted, run(variables, STUDENT, jax.tree.map(jnp.zeros_like, TEACHER)))
    with pytest.raises(ValueError, match=f"{kind} got the student's features stage1 and the teacher's"):
        adapter.init(jax.random.key(0), {"stage1": STUDENT["stage1"]}, TEACHER)
    with pytest.raises(ValueError, match=f"{kind} got the student's 'stage2' of shape"):
        adapter.init(jax.random.key(0), STUDENT, {**TEACHER, "block2": TEACHER["block2"][:1]})
    with pytest.raises(ValueError, match=rf"{kind}.pairs = .*each path of the teacher once"):
        build(name, pairs=[["a", "c"], ["b", "c"]])


@pytest.mark.parametrize(("side", "wanted", "window"), [(4, 4, 1), (8, 4, 3), (2, 4, 4), (7, 4, 4), (None, None, None)])
def test_a_regressor_has_the_convolution_that_fits(side, wanted, window):
    shape = lambda side, c: (2, c) if side is None else (2, side, side, c)
    s, t = (jax.ShapeDtypeStruct(shape(*sides), jnp.float32) for sides in ((side, 3), (wanted, 5)))
    regressor = Regressor(bias=True, relu=True)
    adapted, variables = jax.eval_shape(regressor.init_with_output, jax.random.key(0), {"s": s}, {"t": t})
    assert adapted["t"].shape == t.shape
    assert variables["params"]["t-conv"]["kernel"].shape == (*(window,) * (2 if window else 0), 3, 5)
    with pytest.raises(ValueError, match=r"sides \(3, 3\) for \(4, 4\); it accepts half the teacher's"):
        regressor.init(jax.random.key(0), {"s": jnp.ones((1, 3, 3, 1))}, {"t": jnp.ones((1, 4, 4, 1))})


def test_a_regressor_is_normal_in_training_and_relu_cuts():
    student, teacher = {"a": 5 + draw(4, 8, 2, 2, 3)}, {"a": jnp.zeros((8, 2, 2, 4))}
    variables = Regressor(relu=True).init(jax.random.key(0), student, teacher)
    out, updates = Regressor().apply(variables, student, teacher, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(jnp.mean(out["a"], (0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(jnp.std(out["a"], (0, 1, 2)), 1, rtol=1e-3)
    assert np.abs(updates["batch_stats"]["a-bn"]["mean"]).max() > 0
    cut, _ = Regressor(relu=True).apply(variables, student, teacher, train=True, mutable=["batch_stats"])
    np.testing.assert_array_equal(cut["a"], np.maximum(out["a"], 0))


def test_a_fusion_adds_up_both_by_their_attention():
    x, behind = draw(5, 1, 4, 4, 2), draw(6, 1, 2, 2, 2)
    fusion = Fusion(width=2, features=3)
    params = fusion.init(jax.random.key(0), x, behind, (4, 4), train=False)["params"]
    params["attention"] = {"kernel": jnp.zeros((1, 1, 4, 2)), "bias": jnp.array([0.0, 100.0])}
    params["conv1"]["kernel"] = jnp.eye(2)[None, None]
    start = {f"bn{i}": {"mean": jnp.zeros(size), "var": jnp.ones(size)} for i, size in ((1, 2), (2, 3))}
    _, mixed = fusion.apply({"params": params, "batch_stats": start}, x, behind, (4, 4), train=False)
    expected = 0.5 * x / np.sqrt(1 + 1e-5) + behind.repeat(2, 1).repeat(2, 2)
    np.testing.assert_allclose(mixed, expected, rtol=1e-5, atol=1e-6)


def test_what_lies_deeper_reaches_the_first_layer_and_not_the_other_way():
    adapter = ReviewFusion()
    variables = jax.jit(adapter.init)(jax.random.key(0), STUDENT, TEACHER)
    assert variables["params"]["block2"]["conv1"]["kernel"].shape == (1, 1, 5, 5)
    assert "attention" not in variables["params"]["block2"]
    totals = lambda student: {path: x.sum() for path, x in adapter.apply(variables, student, TEACHER).items()}
    jacobian = jax.jit(jax.jacobian(totals))(STUDENT)
    assert np.abs(jacobian["block1/sum"]["stage2"]).max() > 0
    assert np.abs(jacobian["block2"]["stage1"]).max() == 0


def test_an_embedding_is_a_map_of_one_place():
    student, teacher = {**STUDENT, "z": draw(7, 2, 5)}, {**TEACHER, "c": draw(8, 2, 7)}
    adapter = ReviewFusion(pairs=(("stage1", "block1/sum"), ("stage2", "block2"), ("z", "c")), width=4)
    shapes, _ = jax.eval_shape(adapter.init_with_output, jax.random.key(0), student, teacher)
    assert shapes["c"].shape == (2, 7)


def test_without_pairs_the_deepest_is_a_vector_and_then_the_smallest_map():
    student, teacher = {**STUDENT, "embedding": draw(7, 2, 5)}, {**TEACHER, "a": draw(8, 2, 7)}
    teacher = {"embedding": teacher["a"], "stage1": teacher["block1/sum"], "stage2": teacher["block2"]}
    shapes = jax.eval_shape(ReviewFusion().init, jax.random.key(0), student, teacher)["params"]
    assert {path for path, layer in shapes.items() if "attention" not in layer} == {"embedding"}
    assert shapes["stage2"]["attention"]["kernel"].shape == (1, 1, 10, 2)


def test_variances_start_as_told_and_larger_sides_are_averaged():
    large = {"a": draw(9, 2, 4, 4, 3)}
    small, teacher = {"a": large["a"].reshape(2, 2, 2, 2, 2, 3).mean((2, 4))}, {"a": jnp.zeros((2, 2, 2, 6))}
    adapter = Variational(variance=2.0)
    variables = adapter.init(jax.random.key(0), large, teacher)
    means, variances = adapter.apply(variables, large, teacher)
    np.testing.assert_allclose(variances["a"], np.full(6, 2.0), rtol=1e-5)
    kernels = [np.float64(variables["params"][f"a-conv{i}"]["kernel"]) for i in (1, 2, 3)]
    expected = np.maximum(np.maximum(np.float64(small["a"]) @ kernels[0], 0) @ kernels[1], 0) @ kernels[2]
    np.testing.assert_allclose(means["a"], expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match=r"Variational.variance = 0.0; it accepts numbers above"):
        Variational(variance=0.0)


def test_factors_have_fewer_channels_and_the_student_gets_their_shapes():
    teacher, student = {"a/b": draw(10, 2, 4, 4, 6)}, {"s": draw(11, 2, 8, 8, 3)}
    paraphraser, translator = build("paraphraser", rate=0.5), build("translator")
    (factors, again), _ = jax.eval_shape(paraphraser.init_with_output, jax.random.key(0), teacher)
    assert (factors["a/b"].shape, again["a/b"].shape) == ((2, 4, 4, 3), (2, 4, 4, 6))
    translated, _ = jax.eval_shape(translator.init_with_output, jax.random.key(0), student, factors)
    assert translated["a/b"].shape == (2, 4, 4, 3)
    with pytest.raises(ValueError, match=r"\(2, 4, 4, 1\); it accepts \[b, h, w, c\] with c·0.5 of at least 1"):
        paraphraser.init(jax.random.key(0), {"a": jnp.zeros((2, 4, 4, 1))})
    with pytest.raises(ValueError, match="Paraphraser got no features"):
        Paraphraser().init(jax.random.key(0), {})
    with pytest.raises(ValueError, match=r"Paraphraser.rate = 0; it accepts numbers above 0"):
        Paraphraser(rate=0)
    with pytest.raises(ValueError, match="of the same batch and no smaller sides"):
        Translator().init(jax.random.key(0), {"s": jnp.zeros((2, 2, 2, 3))}, {"t": jnp.zeros((2, 4, 4, 3))})


def test_it_moves_with_the_student_by_statistics_of_the_batch():
    paths = ("stage1", "stage2")

    def fused(players, batch, key):
        _, theirs = players.teacher(batch["image"], features=paths)
        _, ours = players.student(batch["image"], features=paths)
        return {"review": review.hierarchical_context(players.adapter(ours, theirs), theirs)}

    modules = {"student": CNN((2, 3), 4), "teacher": CNN((5, 6), 4), "adapter": ReviewFusion()}
    batch = {"image": jax.ShapeDtypeStruct((2, 8, 8, 1), jnp.float32)}
    inspection = inspect_method(Method(Move(("student", "adapter"), fused)), modules, batch)
    args, kwargs = inspection.inputs["adapter"]
    variables = jax.eval_shape(modules["adapter"].init, jax.random.key(0), *args, **kwargs)
    assert variables["batch_stats"]["stage2"]["bn1"]["mean"].shape == (3,)
    assert {norm.path for norm in inspection.norms["adapter"]} == {f"{path}/bn{i}" for path in paths for i in (1, 2)}
