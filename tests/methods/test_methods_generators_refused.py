"""Distilled generators that cannot be played: hyper-parameters, images, noise, paths and scores that do not fit."""

import pytest

import closed_forms as closed
import players as small
from kdgan import game, methods
from kdgan.models.adapters import Adapter
from kdgan.models.mlp import MLP

FUSED = {
    "student": small.Paints(), "teacher": small.Paints(9), "generator": small.Paints(9), "discriminator": small.Critic()
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "hyperparameters", "message"),
    [
        ("generator_mimic", {"latent": 0}, "method.latent = 0: .* at least 1"),
        ("generator_distill", {"teacher_latent": 0}, "method.teacher_latent = 0: .* at least 1"),
        ("fused", {"latent": -1}, "method.latent = -1"),
        ("generator_mimic", {"pixel": "huber"}, "method.pixel = 'huber': accepted are l1, l2"),
        ("fused", {"pixel": "huber"}, "method.pixel = 'huber': accepted are l1, l2"),
        ("fused", {"match": "features"}, "method.match = 'features': accepted are outputs, weights, or both"),
        ("fused", {"match": ()}, "method.match"),
        ("fused", {"reference": "data"}, "method.reference = 'data': accepted are teacher, batch"),
        ("generator_distill", {"loss": "lsgan"}, "method.loss = 'lsgan': accepted are nonsaturating, minimax"),
        ("fused", {"penalty": "r2"}, "method.penalty = 'r2': accepted are r1, gradient"),
        ("fused", {"diffaugment": "colour"}, "method.diffaugment: .*'colour' is unknown"),
        ("generator_mimic", {"loss": "hinge"}, "method.loss: generator_mimic takes no such hyper-parameter"),
    ],
)
def test_what_cannot_be_played_is_refused(name, hyperparameters, message):
    with pytest.raises(ValueError, match=message):
        methods.build(name, **hyperparameters)


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("generator_mimic", "teacher"),
        ("generator_mimic", "student"),
        ("generator_distill", "teacher"),
        ("fused", "teacher"),
        ("fused", "generator"),
        ("fused", "student"),
    ],
)
def test_images_of_another_shape_are_refused_by_their_makers_name(name, role):
    modules = {**FUSED, role: closed.Affine()}
    with pytest.raises(
        ValueError, match=rf"players.{role} makes images of shape \(1, 1, 1\), the data's are \(4, 4, 1\)"
    ):
        game.inspect_method(methods.build(name, latent=3), modules, small.with_noise())


def test_features_do_not_hide_images_of_another_shape():
    modules = {"student": small.Paints(), "teacher": MLP((4,), num_classes=3), "adapter": Adapter()}
    method = methods.build("generator_mimic", latent=3, adapted={"hidden": "dense1"})
    with pytest.raises(ValueError, match=r"players.teacher makes images of shape \(3,\)"):
        game.inspect_method(method, modules, small.with_noise())


@pytest.mark.parametrize(
    ("hyperparameters", "message"),
    [
        ({"latent": 5}, "method.latent = 5, but the batch holds noise of dimension 3"),
        ({"latent": 2, "teacher_latent": 5}, "method.teacher_latent = 5, but the batch holds noise of dimension 3"),
        ({"latent": 3, "aligned": ("block9",)}, r"no module at path 'block9'"),
        ({"latent": 3, "seen": ("block9",)}, r"no module at path 'block9'"),
    ],
)
def test_batches_and_paths_that_do_not_fit_are_refused(hyperparameters, message):
    with pytest.raises(ValueError, match=message):
        game.inspect_method(methods.build("generator_distill", **hyperparameters), FUSED, small.with_noise())


def test_discriminators_must_give_one_score_an_image():
    for name in ("generator_distill", "fused"):
        with pytest.raises(ValueError, match=r"players.discriminator gives scores of shape \(8, 3\)"):
            game.inspect_method(
                methods.build(name, latent=3), {**FUSED, "discriminator": small.Plain()}, small.with_noise()
            )
