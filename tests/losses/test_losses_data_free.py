"""Losses of distillation without data: closed forms, what they are smallest at, and the figures of their authors' code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import parity_figures
from kdgan.batch_statistics import LayerStatistics, blended, with_batch_statistics
from kdgan.losses import data_free, features, images

LOG2 = float(np.log(2))


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def test_confidence_and_balance_at_their_ends():
    even, sure = jnp.zeros((4, 4)), 100.0 * jnp.eye(4)
    np.testing.assert_allclose(data_free.one_hot(even), np.full(4, np.log(4)), rtol=1e-6)
    np.testing.assert_allclose(data_free.one_hot(sure), 0, atol=1e-6)
    # Of a batch that is sure of every class once the mean is even; of one that is sure of one class it is that class.
    np.testing.assert_allclose(data_free.balance(sure), -np.log(4), rtol=1e-6)
    np.testing.assert_allclose(data_free.balance(jnp.broadcast_to(sure[:1], (4, 4))), 0, atol=1e-6)
    assert np.isfinite(jax.grad(data_free.balance)(1e4 * jnp.eye(4))).all()


def test_activation_by_hand():
    f = jnp.array([[1.0, -3.0], [0.0, 2.0]])
    np.testing.assert_allclose(data_free.activation(f), [-2.0, -1.0])
    np.testing.assert_allclose(jax.grad(lambda f: data_free.activation(f).sum())(f), [[-0.5, 0.5], [0.0, -0.5]])


def layer(*values):
    return LayerStatistics(*(jnp.asarray(value, jnp.float32) for value in values))


def test_batch_statistics_by_hand():
    far, near = layer([3, 4], [1, 1], [0, 0], [1, 1]), layer([0, 0], [1, 13], [0, 0], [1, 1])
    np.testing.assert_allclose(data_free.batch_norm_statistics([far, near]), 5 + 12)
    np.testing.assert_allclose(data_free.batch_norm_statistics({"a": far, "b": near}, first=10.0), 50 + 12)
    same = layer([1, 2], [3, 4], [1, 2], [3, 4])
    value, gradient = jax.value_and_grad(lambda mean: data_free.batch_norm_statistics([same._replace(mean=mean)]))(
        same.mean
    )
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)  # not NaN
    with pytest.raises(ValueError, match="layers is empty"):
        data_free.batch_norm_statistics([])


def test_adversarial_terms_by_hand():
    s, t = jnp.array([[0.0, 1.0], [2.0, 0.0]]), jnp.array([[1.0, 3.0], [0.0, 0.0]])
    np.testing.assert_allclose(data_free.logit_l1(s, t), [1.5, 1.0])
    np.testing.assert_allclose(data_free.adversarial_l1(s, t), [-1.5, -1.0])
    np.testing.assert_allclose(data_free.adversarial_log_l1(s, t), -np.log(2.25), rtol=1e-6)
    p, q = np.exp(t[0]) / np.exp(t[0]).sum(), np.exp(s[0]) / np.exp(s[0]).sum()
    np.testing.assert_allclose(data_free.adversarial_kl(s, t)[0], -np.sum(p * np.log(p / q)), rtol=1e-5)
    same = jax.grad(lambda s: data_free.adversarial_l1(s, t).sum())(t)
    np.testing.assert_array_equal(same, 0)


def test_only_examples_on_which_both_agree_are_pulled():
    s, t = jnp.array([[0.0, 1.0], [2.0, 0.0]]), jnp.array([[1.0, 3.0], [0.0, 1.0]])
    of = lambda s: data_free.decision_adversarial(s, t)
    np.testing.assert_allclose(of(s), [data_free.adversarial_kl(s, t)[0], 0.0], rtol=1e-6)
    gradient = jax.grad(lambda s: of(s).sum())(s)
    assert np.abs(gradient[0]).max() > 1e-2
    np.testing.assert_array_equal(gradient[1], 0)


def test_competition_at_its_ends():
    one, other = 100.0 * jnp.eye(2), 100.0 * jnp.eye(2)[::-1]
    np.testing.assert_allclose(data_free.competition(one, one), 1.0, atol=1e-6)
    np.testing.assert_allclose(data_free.competition(one, other), 1 - LOG2, rtol=1e-5)
    a, b = draw(0, 5, 3), draw(1, 5, 3)
    np.testing.assert_allclose(data_free.competition(a, b), data_free.competition(b, a), rtol=1e-5)
    # That of the code has its mixture on the other side, and is clipped at 0, where it has no gradient.
    np.testing.assert_allclose(data_free.competition_of_code(a, a), 1.0, atol=1e-6)
    value, gradient = jax.value_and_grad(data_free.competition_of_code)(one, other)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)


def test_norms_of_images():
    image = jnp.zeros((2, 2, 2, 1)).at[0, 0, 0, 0].set(3.0).at[1, 1, 1, 0].set(4.0)
    np.testing.assert_allclose(data_free.image_norm(image), [3.0, 4.0])
    np.testing.assert_allclose(data_free.batch_image_norm(image), 5.0)
    np.testing.assert_array_equal(jax.grad(data_free.batch_image_norm)(jnp.zeros((1, 2, 2, 1))), 0)
    # Of a single pixel: down, right and one diagonal of either kind see it, each over both images.
    one = image.at[1].set(0.0)
    np.testing.assert_allclose(data_free.batch_total_variation(one), 3 * 3.0)
    with pytest.raises(ValueError, match="at least 2×2"):
        data_free.batch_total_variation(jnp.zeros((1, 1, 4, 1)))


def test_contrast_by_hand():
    u, v = jnp.eye(3), 2.0 * jnp.eye(3)
    found = -np.log(np.exp(1 / 0.5) / (np.exp(1 / 0.5) + 2))
    np.testing.assert_allclose(data_free.contrastive(u, v, 3, temperature=0.5), found, rtol=1e-5)
    np.testing.assert_allclose(data_free.contrastive(u, v, 2, temperature=0.5), 2 * found, rtol=1e-5)
    np.testing.assert_array_equal(jax.grad(lambda v: data_free.contrastive(u, v, 2))(v), 0)
    assert np.isfinite(jax.grad(lambda u: data_free.contrastive(u, v, 2))(jnp.zeros((3, 3)))).all()
    with pytest.raises(ValueError, match="new is 4"):
        data_free.contrastive(u, v, 4)


def test_attention_sees_neither_scale_nor_the_number_of_channels():
    s, t = draw(0, 2, 3, 3, 4), draw(1, 2, 3, 3, 2)
    found = features.attention_transfer([s], [t])
    np.testing.assert_allclose(features.attention_transfer([5 * s], [0.1 * t]), found, rtol=1e-4)
    np.testing.assert_allclose(features.attention_transfer([jnp.concatenate([s, s], -1)], [t]), found, rtol=1e-4)
    np.testing.assert_allclose(features.attention_distance([s], [t]) ** 2, 9 * found, rtol=1e-4)
    for loss in (features.attention_transfer, features.attention_distance):
        np.testing.assert_allclose(loss([s], [s]), 0, atol=1e-6)
        assert np.isfinite(jax.grad(lambda s, loss=loss: loss([s], [s]).sum())(s)).all()
        assert np.isfinite(jax.grad(lambda s, loss=loss: loss([0 * s], [t]).sum())(s)).all()
        larger = jnp.repeat(jnp.repeat(t, 2, axis=1), 2, axis=2)  # whose 2×2 means are t
        np.testing.assert_allclose(loss([s], [larger]), loss([s], [t]), rtol=1e-5)
        with pytest.raises(ValueError, match="same batch"):
            loss([s], [t[:1]])


# The figures of their authors' code.


def nhwc(array):
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


def norm_of(running_mean, running_variance):
    """X [b, h, w, c] -> statistics of a batch norm with these averages that is given x."""
    module = nn.BatchNorm(use_running_average=True, use_bias=False, use_scale=False)
    kept = {"batch_stats": {"mean": jnp.asarray(running_mean), "var": jnp.asarray(running_variance)}}
    return lambda x: with_batch_statistics(lambda: module.apply(kept, x))[1][""]


def of_dafl(z):
    to_nats = float(np.log(10))
    total = lambda t, f: data_free.one_hot(t) + 5 / to_nats * data_free.balance(t) + 0.1 * data_free.activation(f)
    return {
        "official_one_hot": (data_free.one_hot, ["teacher_logits"]),
        "official_activation": (data_free.activation, ["teacher_features"]),
        "official_information_entropy": (lambda t: data_free.balance(t) / to_nats, ["teacher_logits"]),
        "official_total": (total, ["teacher_logits", "teacher_features"]),
        "datafree_balance": (data_free.balance, ["teacher_logits"]),
    }


def of_dfad(z):
    return {
        "official_student": (data_free.logit_l1, ["student", "teacher"]),
        "official_generator": (data_free.adversarial_l1, ["student", "teacher"]),
    }


def of_zskt(z):
    """Its KL is divided by the ten classes, and lacks T²."""
    both, teacher = ["student", "teacher"], jnp.asarray(z["in.teacher"])
    maps = [jnp.asarray(nhwc(z[f"in.teacher_map_{i}"])) for i in (0, 1)]
    return {
        "generator_T1": (lambda s, t: data_free.adversarial_kl(s, t) / 10, both),
        "generator_T4": (lambda s, t: data_free.adversarial_kl(s, t, temperature=4.0) / (10 * 16), both),
        "student": (
            lambda s, *own: 250 * features.attention_transfer(own, maps) - data_free.adversarial_kl(s, teacher) / 10,
            ["student", "student_map_0", "student_map_1"],
        ),
    }


def of_deepinversion(z):
    norms = [norm_of(z[f"in.running_mean_{i}"], z[f"in.running_var_{i}"]) for i in (0, 1)]
    both = ["feature_0", "feature_1"]
    logits = ["student_logits", "teacher_logits"]
    layers = lambda *xs: [norm(x) for norm, x in zip(norms, xs, strict=False)]
    return {
        "bn_layer0": (lambda x: data_free.batch_norm_statistics(layers(x)), both[:1]),
        "bn_sum": (lambda *xs: data_free.batch_norm_statistics(layers(*xs)), both),
        "bn_first_bn_x10": (lambda *xs: data_free.batch_norm_statistics(layers(*xs), first=10.0), both),
        "tv_l1": (lambda x: images.total_variation(x, diagonals=True), ["image"]),
        "tv_l2": (data_free.batch_total_variation, ["image"]),
        "l2_per_sample_mean": (data_free.image_norm, ["image"]),
        "l2_whole_batch": (data_free.batch_image_norm, ["image"]),
        "adaptive_js": (data_free.competition_of_code, logits),
        "datafree_jsdiv": (lambda s, t: 1 - data_free.competition_of_code(s, t), logits),
    }


def of_cmi_fast(z):
    norm = norm_of(z["in.running_mean"], z["in.running_var"])
    first = norm(jnp.asarray(nhwc(z["in.feature_a"])))
    averages = {"": (first.mean, first.variance)}
    weights = {name.partition("head.head.")[2]: value for name, value in z.items() if name.startswith("param.head")}
    half = z["in.bank"].shape[1] // 2
    cached, cached_whole = z["in.bank"][:, :half], z["in.bank"][:, half:]

    def project(x):
        hidden = jax.nn.relu(x @ weights["0.weight"].T + weights["0.bias"][None])
        return hidden @ weights["2.weight"].T + weights["2.bias"][None]

    def contrast(local, whole):
        rows = [project(jnp.concatenate(pair)) for pair in ((local, cached), (whole, cached_whole))]
        return data_free.contrastive(*rows, len(local), temperature=0.2)

    return {
        "fast_bn_first_call": (lambda x: data_free.batch_norm_statistics([norm(x)]), ["feature_a"]),
        "fast_bn_after_update": (
            lambda x: data_free.batch_norm_statistics(blended({"": norm(x)}, averages, 0.9)),
            ["feature_b"],
        ),
        "decision_adversarial": (data_free.decision_adversarial, ["student", "teacher"]),
        "contrastive": (contrast, ["local_feature", "global_feature"]),
    }


PARITY = {"dafl": of_dafl, "dfad": of_dfad, "zskt": of_zskt, "deepinversion": of_deepinversion, "cmi_fast": of_cmi_fast}


@pytest.mark.shared
@pytest.mark.parametrize("name", PARITY)
def test_values_and_gradients_are_those_of_published_code(name, shared_data_dir):
    figures = parity_figures.read(shared_data_dir, name)
    z = {key: np.asarray(value, np.float32) for key, value in figures.items() if value.dtype.kind == "f"}
    wanted = {key: np.float64(value) for key, value in figures.items() if key.startswith(("value64", "grad64"))}
    for variant, (loss, inputs) in PARITY[name](z).items():
        given = [jnp.asarray(nhwc(z[f"in.{key}"])) for key in inputs]
        of = lambda *args, loss=loss: jnp.mean(loss(*args))
        value, gradients = jax.value_and_grad(of, argnums=tuple(range(len(given))))(*given)
        np.testing.assert_allclose(value, wanted[f"value64.{variant}"], rtol=1e-5, err_msg=variant)
        checked = 0
        for key, gradient in zip(inputs, gradients, strict=True):
            expected = wanted.get(f"grad64.{variant}.{key}")
            if expected is not None:
                checked += 1
                atol = 1e-5 * np.abs(expected).max()
                np.testing.assert_allclose(gradient, nhwc(expected), atol=max(atol, 1e-12), err_msg=f"{variant} {key}")
        assert checked
