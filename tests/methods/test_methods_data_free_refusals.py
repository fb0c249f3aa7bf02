"""Distillation without data: λ's of the authors, and what is refused."""

import pytest
from test_methods_data_free import BATCH, CONTRASTED, OF_IMAGES

import players as small
from kdgan import game, methods
from kdgan.methods.data_free import PUBLISHED


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_lambdas_are_of_the_methods_own_terms(name):
    players = {**CONTRASTED, **OF_IMAGES}
    attention = {"attention": ("stage1",)} if name == "zskt" else {}
    terms = game.inspect_method(methods.build(name, **attention), players, BATCH).terms
    assert {lead: set(names) for lead, names in terms.items()} == {
        lead: set(own) for lead, own in PUBLISHED[name].items()
    }


@pytest.mark.parametrize("name", ["dfq", "deep_inversion", "cmi", "fast"])
def test_statistics_of_a_network_without_batch_norm_are_refused(name):
    players = {**CONTRASTED, **OF_IMAGES, "teacher": small.Plain()}
    message = r"identically zero for players.teacher \(Plain\); choose a network with batch norm, or dafl / dfad"
    with pytest.raises(ValueError, match=message):
        game.inspect_method(methods.build(name), players, BATCH)


@pytest.mark.parametrize(
    ("name", "hyperparameters", "message"),
    [
        ("dafl", {"latent": 0}, "method.latent = 0"),
        ("dafl", {"temperature": 0}, "method.temperature = 0"),
        ("dafl", {"student_repeats": 2}, "want joint = False"),
        ("dafl", {"generator_repeats": -1, "joint": False}, "method.generator_repeats = -1"),
        ("dfad", {"adversarial": "l2"}, "method.adversarial = 'l2': accepted are l1, log_l1, kl, decision"),
        ("dfad", {"student_repeats": True}, "method.student_repeats = True"),
        ("zskt", {"attention": "stage1"}, "method.attention = 'stage1': paths of modules"),
        ("dfq", {"adversarial": "none"}, "method.adversarial = 'none'"),
        ("deep_inversion", {"variation": "l3"}, "method.variation = 'l3': accepted are l2, l1, or '' for none"),
        ("deep_inversion", {"competition": "kl"}, "method.competition = 'kl': accepted are js, code"),
        ("deep_inversion", {"jitter": -1}, "method.jitter = -1"),
        ("cmi", {"padding": -1}, "method.padding = -1"),
        ("cmi", {"contrast_temperature": 0.0}, "method.contrast_temperature = 0.0"),
        ("cmi", {"generator_repeats": 0}, "method.generator_repeats = 0: .* at least 1"),
        ("fast", {"inner_steps": 0}, "method.inner_steps = 0"),
        ("fast", {"noise_rate": 0.0}, "method.noise_rate = 0.0"),
    ],
)
def test_what_cannot_be_played_is_refused(name, hyperparameters, message):
    with pytest.raises(ValueError, match=message):
        methods.build(name, **hyperparameters)


def test_images_that_do_not_say_how_many_they_are_are_refused():
    players = {**OF_IMAGES, "images": small.Plain()}
    with pytest.raises(ValueError, match=r"players.images \(Plain\): a module with a number of images is wanted"):
        game.inspect_method(methods.build("deep_inversion"), players, BATCH)


def test_images_are_not_moved_out_of_sight():
    method = methods.build("cmi", latent=3, padding=5)
    with pytest.raises(ValueError, match=r"method\.padding = 5: images have 4×4 pixels"):
        game.inspect_method(method, CONTRASTED, BATCH)
