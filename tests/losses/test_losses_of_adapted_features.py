"""Losses behind the learned adapters of published code, with its parameters and gradients; VID and SRD by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan.losses import boundaries, features, logits, similarity
from kdgan.losses.factors import factor_transfer
from kdgan.losses.log_power import log_power_distance
from kdgan.losses.review import hierarchical_context
from kdgan.losses.variational import variational_information
from kdgan.models.adapters import Adapter
from kdgan.models.paraphraser import Paraphraser, Translator
from kdgan.models.regressors import Regressor
from kdgan.models.review_fusion import ReviewFusion
from kdgan.models.variational import Variational
from published_features import check, figures, kernel, maps, nhwc, norm, start, transposed_kernel


def draw(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


S, T = draw(0, 4, 3), draw(1, 4, 3)

# VID


def test_variational_information_is_the_likelihood_of_a_gaussian():
    mean, target, variance = draw(2, 2, 3, 3, 4), draw(3, 2, 3, 3, 4), jnp.array([0.5, 1.0, 2.0, 4.0])
    actual = variational_information([mean], [target], [variance])
    likelihood = jax.scipy.stats.norm.logpdf(target, mean, jnp.sqrt(variance)[None, None, None])
    np.testing.assert_allclose(actual, -jnp.mean(likelihood, (1, 2, 3)) - np.log(2 * np.pi) / 2, rtol=1e-5)
    # Of all variances it is least at the mean squared error.
    squared = jnp.mean(jnp.square(target - mean), axis=(0, 1, 2))
    of = lambda variance: variational_information({"a": mean}, {"b": target}, {"b": variance}).mean()
    np.testing.assert_allclose(jax.grad(of)(squared), 0, atol=1e-6)
    assert of(squared) < of(1.1 * squared)
    np.testing.assert_allclose(
        jax.grad(lambda mean: variational_information([mean], [target], [variance]).sum())(mean),
        (mean - target) / variance[None, None, None] / 36,
        rtol=1e-5,
    )


def test_variational_information_averages_a_larger_teacher():
    large = jnp.arange(16.0).reshape(1, 4, 4, 1)
    mean = large.reshape(1, 2, 2, 2, 2, 1).mean((2, 4))
    np.testing.assert_allclose(variational_information([mean + 2], [large], [jnp.ones(1)], [0.5]), [1.0], rtol=1e-6)
    for target, variance in ((mean, jnp.ones(2)), (mean[:, :1], jnp.ones(1))):
        with pytest.raises(ValueError, match=r"a teacher of larger sides, and variances \[c\]"):
            variational_information([mean], [target], [variance])


# SRD


def test_log_power_distance_by_numpy():
    s, t = (np.float64(x) for x in (S, T))
    s, t = ((x - x.mean(0)) / np.sqrt(x.var(0) + 1e-4) for x in (s, t))
    np.testing.assert_allclose(log_power_distance([S], [T]), np.log(np.sum((s - t) ** 4)), rtol=1e-5)
    actual = log_power_distance([S, S], [T, T], [1.0, 0.5], power=2.0)
    np.testing.assert_allclose(actual, 1.5 * np.log(np.sum((s - t) ** 2)), rtol=1e-5)
    spread = jnp.stack([S + 1, S - 1], axis=1)[:, :, None]  # a map with the mean S
    np.testing.assert_allclose(log_power_distance([spread], [T]), log_power_distance([S], [T]), rtol=1e-5)


def test_log_power_distance_sees_no_scale_and_is_finite_at_its_ends():
    gradient = jax.jit(jax.value_and_grad(lambda s, t: log_power_distance([s], [t])))
    value, pull = gradient(S, T)
    np.testing.assert_allclose(log_power_distance([100 * S + 3], [T]), value, atol=1e-2)
    assert np.abs(pull).max() > 0.1
    assert gradient(S - 1e-3 * pull, T)[0] < value
    for s, t in ((S, S), (0 * S, T), (S, 0 * T), (0 * S, 0 * T)):
        value, pull = gradient(s, t)
        assert np.isfinite(value)
        assert np.isfinite(pull).all()


def test_log_power_distance_refuses():
    with pytest.raises(ValueError, match=r"power is 1; it must be above 1"):
        log_power_distance([S], [T], power=1)
    for s, t in ((S[:1], T[:1]), (S, T[:, :2])):
        with pytest.raises(ValueError, match="the same width and batch, of at least 2"):
            log_power_distance([s], [t])


# Published figures


def of_fitnet(name, student, teacher, to_kernel=kernel):
    def loss(z):
        z = {key.replace(f"{name}.", ""): value for key, value in z.items()}
        params = {
            "t-conv": {"kernel": to_kernel(z["param.conv.weight"]), "bias": z["param.conv.bias"]},
            "t-bn": norm(z, "bn"),
        }
        (s,), (t,) = maps(z, student), maps(z, teacher)
        regressor = Regressor(bias=True, relu=True)
        variables = {"params": params, "batch_stats": start(**{"t-bn": 12})}
        adapted, _ = regressor.apply(variables, {"s": s}, {"t": t}, train=True, mutable=["batch_stats"])
        return features.feature_l2(adapted, {"t": t})

    return loss


def connected(z, names, student, teacher):
    """Behind connectors: a 1×1 convolution without bias, and batch norm."""
    params = {
        key: value
        for teacher_path, (convolution, batch_norm) in zip(teacher, names, strict=True)
        for key, value in (
            (f"{teacher_path}-conv", {"kernel": kernel(z[f"param.{convolution}.weight"])}),
            (f"{teacher_path}-bn", norm(z, batch_norm)),
        )
    }
    variables = {"params": params, "batch_stats": start(**{f"{path}-bn": 12 for path in teacher})}
    student = dict(zip(student, maps(z, *student), strict=True))
    teacher = dict(zip(teacher, maps(z, *teacher), strict=True))
    return Regressor().apply(variables, student, teacher, train=True, mutable=["batch_stats"])[0], teacher


def of_ofd(z):
    names = [(f"connectors.{i}.0", f"connectors.{i}.1") for i in range(2)]
    adapted, teacher = connected(z, names, ["student_0", "student_1"], ["teacher_0", "teacher_1"])
    margins = [boundaries.margins(z[f"in.teacher_bn_bias_{i}"], z[f"in.teacher_bn_weight_{i}"]) for i in range(2)]
    return 6 * boundaries.margin_distance(adapted, teacher, margins, [0.5, 1.0])  # theirs is a sum over the batch of 6


def of_ickd(z):
    return similarity.channel_correlation(
        *connected(z, [("embed_s.conv2d", "embed_s.l2norm")], ["student"], ["teacher"])
    )


def of_review(z):
    """Theirs counts from the deepest; λ is 5·min(epoch/20, 1) of epoch 15."""
    paths, sizes, params = ["a", "b", "c"], {}, {}
    for i, path in zip((2, 1, 0), paths, strict=True):
        name = f"abfs.{i}"
        params[path] = {
            **{f"conv{k}": {"kernel": kernel(z[f"param.{name}.conv{k}.0.weight"])} for k in (1, 2)},
            **{f"bn{k}": norm(z, f"{name}.conv{k}.1") for k in (1, 2)},
        }
        if i:
            weight, bias = (z[f"param.{name}.att_conv.0.{kind}"] for kind in ("weight", "bias"))
            params[path]["attention"] = {"kernel": kernel(weight), "bias": bias}
        sizes[path] = start(**{f"bn{k}": len(params[path][f"bn{k}"]["bias"]) for k in (1, 2)})
    student, teacher = (
        dict(zip(paths, maps(z, *(f"{who}_{i}" for i in (0, 1, "pooled"))), strict=True))
        for who in ("student", "teacher")
    )
    variables = {"params": params, "batch_stats": sizes}
    fused, _ = ReviewFusion(width=10).apply(variables, student, teacher, train=True, mutable=["batch_stats"])
    return 5 * 15 / 20 * hierarchical_context(fused, teacher)


def of_vid(student="student", teacher="teacher"):
    def loss(z):
        params = {
            f"t-conv{i // 2 + 1}": {"kernel": kernel(z[f"param.vid.regressor.{i}.weight"])[0, 0]} for i in (0, 2, 4)
        }
        params["t-variance"] = z["param.vid.log_scale"]
        (s,), (t,) = maps(z, student), maps(z, teacher)
        means, variances = Variational().apply({"params": params}, {"s": s}, {"t": t})
        return variational_information(means, {"t": t}, variances)

    return loss


def of_srd(z):
    student, teacher = (nhwc(z[f"in.{who}"]) for who in ("student", "teacher"))
    params = {"params": {"t": {"kernel": kernel(z["param.srd.embed.weight"]), "bias": z["param.srd.embed.bias"]}}}
    return log_power_distance(Adapter().apply(params, {"s": student}, {"t": teacher}), {"t": teacher})


def of_srd_in_all(z):
    return 2 * of_srd(z) + logits.kl_divergence(z["in.student_logits"], z["in.teacher_logits"], temperature=1.0)


def stacked(z, name, back=False):
    """Parameters of three convolutions and, where there are some, batch norms."""
    layers = {}
    for i, at in enumerate((0, 3, 6), start=1):
        weight, bias = (z[f"param.{name}.{at}.{kind}"] for kind in ("weight", "bias"))
        layers[f"conv{i}"] = {"kernel": (transposed_kernel if back else kernel)(weight), "bias": bias}
        if f"param.{name}.{at + 1}.weight" in z:
            layers[f"bn{i}"] = norm(z, f"{name}.{at + 1}")
    return layers


def paraphrased(z):
    params = {"t-encoder": stacked(z, "paraphraser.encoder"), "t-decoder": stacked(z, "paraphraser.decoder", back=True)}
    (teacher,) = maps(z, "raw_teacher")
    return teacher, *Paraphraser().apply({"params": params}, {"t": teacher})


def of_paraphraser(z):
    teacher, _, again = paraphrased(z)
    return features.feature_l2(again, {"t": teacher})


def of_translator(z):
    _, factors, _ = paraphrased(z)
    params = {"t": stacked(z, "translator.encoder")}
    variables = {"params": params, "batch_stats": {"t": start(bn1=8, bn2=6, bn3=6)}}
    (student,) = maps(z, "raw_student")
    translated, _ = Translator().apply(variables, {"s": student}, factors, train=True, mutable=["batch_stats"])
    return factor_transfer(translated, factors)


def of_attention(loss):
    return lambda z: loss(maps(z, "student"), maps(z, "teacher"))


# name, variant, loss, tolerance of the value and of gradients, parameters before batch norm, whose gradient is 0
PUBLISHED = [
    (
        "fitnet",
        "repdistiller",
        lambda z: features.feature_l2(maps(z, "student_matched"), maps(z, "teacher")),
        1e-6,
        1e-6,
        (),
    ),
    *(
        ("fitnet", name, of_fitnet(name, *rest), 1e-6, 1e-6, (f"param.{name}.conv.bias",))
        for name, *rest in (
            ("regressor_same_size", "student", "teacher"),
            ("regressor_half", "student_double", "teacher_half"),
            ("regressor_double", "student_half", "teacher_double", transposed_kernel),
        )
    ),
    ("at", "official", of_attention(features.attention_transfer), 1e-6, 2e-6, ()),
    ("at", "torchdistill_paper", of_attention(features.attention_distance), 1e-6, 2e-6, ()),
    ("ft", "modules_paraphrase_mse", of_paraphraser, 1e-6, 5e-6, ()),
    (
        "ft",
        "modules_transfer",
        of_translator,
        1e-6,
        5e-6,
        tuple(f"param.translator.encoder.{i}.bias" for i in (0, 3, 6)),
    ),
    ("ofd", "official", of_ofd, 1e-6, 1e-6, ()),
    ("ickd", "official_cifar", of_ickd, 1e-6, 1e-6, ()),
    ("reviewkd_abf", "mdistiller", of_review, 1e-6, 2e-6, ()),
    ("vid", "repdistiller", of_vid(), 1e-6, 2e-6, ()),
    ("vid", "repdistiller_pool_student", of_vid("student_big", "teacher_small"), 1e-6, 2e-6, ()),
    ("srd", "official_feature_term", of_srd, 1e-6, 2e-6, ("param.srd.embed.bias",)),
    ("srd", "official_total", of_srd_in_all, 1e-6, 2e-6, ("param.srd.embed.bias",)),
]


@pytest.mark.shared
@pytest.mark.parametrize(("name", "variant", "loss", "value_rtol", "gradient_rtol", "without"), PUBLISHED)
def test_published_figures(name, variant, loss, value_rtol, gradient_rtol, without, shared_data_dir):
    z = figures(shared_data_dir, name)
    check(z, variant, loss, value_rtol=value_rtol, gradient_rtol=gradient_rtol, without=without)
