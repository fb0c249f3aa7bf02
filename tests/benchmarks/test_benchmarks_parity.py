"""kdgan, JAX by hand and PyTorch compute the same losses and gradients for every piece of work that is timed."""

import functools
import importlib.util

import jax
import numpy as np
import pytest

from benchmarks import bare, bare_features, images, ours, parity, rivals, work

PIECES = tuple(name for name in work.small_pieces() if name != "resnet8x4")  # the code of resnet20's
IN_PYTORCH = tuple(name for name in PIECES if name not in bare_features.OBJECTIVES)
LAYOUTS = ("eager", "channels_last")
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="PyTorch is not installed (benchmarks/requirements.txt)"
)


@functools.cache
def at_start(name):
    """(piece, variables, batch, the random numbers of the step, kdgan's losses and gradients there)."""
    piece = work.named(name, quick=True)
    state = ours.make_state(piece)
    batch = work.batches(piece, count=1)[0]
    return piece, ours.variables_of(state), batch, ours.draws(piece, state), ours.gradients(piece, state, batch)


@pytest.mark.parametrize("name", PIECES)
def test_the_step_by_hand_has_the_losses_and_gradients_of_kdgans(name):
    piece, variables, batch, draws, expected = at_start(name)
    parity.check(expected, rivals.by_hand(piece).gradients(piece, variables, batch, draws), name)


@needs_torch
@pytest.mark.parametrize("way", LAYOUTS)
@pytest.mark.parametrize("name", IN_PYTORCH)
def test_pytorch_has_the_losses_and_gradients_of_kdgans(name, way):
    from benchmarks import pytorch

    piece, variables, batch, draws, expected = at_start(name)
    parity.check(expected, pytorch.Steps(piece, way, "cpu", variables).gradients(batch, draws), f"{name}, {way}")


@needs_torch
@pytest.mark.parametrize("name", IN_PYTORCH)
def test_weights_that_pytorch_was_given_come_back_as_they_were(name):
    from benchmarks import pytorch

    piece, variables, *_ = at_start(name)
    back = pytorch.Steps(piece, "channels_last", "cpu", variables).params()
    expected = {player: variables[player]["params"] for player in piece.trained}
    jax.tree.map(np.testing.assert_array_equal, back, expected)


def test_crds_gradient_is_compared_of_the_bank_too():
    *_, expected = at_start("crd")
    assert expected[1].keys() == {"student", "memory_bank"}
    other = jax.tree.map(np.copy, expected[1])
    other["memory_bank"]["embed_teacher"]["kernel"] *= -1
    with pytest.raises(AssertionError, match="by hand: the gradient of memory_bank"):
        parity.check(expected, (expected[0], other), "by hand")


def test_a_restorer_starts_where_every_parameter_counts():
    piece, variables, batch, draws, expected = at_start("denoise")
    assert all(np.any(leaf) for leaf in jax.tree.leaves(expected[1]))
    other = jax.tree.map(np.copy, variables)
    other["student"]["params"]["conv1"]["kernel"] *= 1.5
    with pytest.raises(AssertionError, match="by hand: the loss of student"):
        parity.check(expected, bare.gradients(piece, other, batch, draws), "by hand")
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 1), np.uint8)
    made = images.in_kdgan(piece, variables)(image)
    assert 0.3 < (made != image).mean()
    assert 0.9 < ((made > 0) & (made < 255)).mean()
    images.check(made, images.by_hand(piece, variables)(image), "by hand")
    with pytest.raises(AssertionError, match="by hand"):
        images.check(made, images.by_hand(piece, other)(image), "by hand")


@needs_torch
@pytest.mark.parametrize("name", ["mlp_lenet", "resnet20"])
def test_after_two_steps_of_the_optimizer_all_three_are_at_the_same_parameters(name):
    from benchmarks import pytorch

    piece, variables, batch, *_ = at_start(name)
    made = (
        ours.make_steps(piece, ours.make_state(piece), [batch]),
        bare.make_steps(piece, variables, [batch]),
        pytorch.make_steps(piece, "eager", "cpu", [batch], variables),
    )
    for contestant in made:
        contestant.steps(2)
    rate = piece.optimizers["student"].learning_rate
    first, *others = (jax.device_get(contestant.params()) for contestant in made)
    for other in others:
        parity.check_params(first, other, rate=rate, steps=2, who=name)
    np.testing.assert_allclose(made[1].losses()["student"], made[0].losses()["student"], rtol=1e-4)
    np.testing.assert_allclose(made[2].losses()["student"], made[0].losses()["student"], rtol=1e-4)


def test_a_gradient_that_differs_in_one_parameter_is_refused_by_its_path():
    ours_found = {"student": 1.0}, {"student": {"conv1": np.ones((3, 3)), "head": 1000 * np.ones((50, 50))}}
    other = {"student": 1.0}, {"student": {"conv1": 1.2 * np.ones((3, 3)), "head": 1000 * np.ones((50, 50))}}
    with pytest.raises(AssertionError, match="conv1"):
        parity.check(ours_found, other, "by hand")


def test_what_a_bit_of_rounding_does_is_allowed_and_no_more():
    ours_found = {"student": 1.0}, {"student": {"head": np.ones(100)}}
    other = {"student": 1.0}, {"student": {"head": np.ones(100) + 1e-3}}
    with pytest.raises(AssertionError, match=r"0\.001 of its norm; rounding explains 0\.0001"):
        parity.check(ours_found, other, "by hand")
    with pytest.raises(AssertionError, match=r"rounding explains 0\.0008"):
        parity.check(ours_found, other, "by hand", rounding=2e-4)
    assert parity.check(ours_found, other, "by hand", rounding=5e-4)["gradient"] == pytest.approx(1e-3)


def test_every_pixel_is_rounded_otherwise_in_its_last_bits():
    batch = work.batches(work.named("resnet20", quick=True))[0]
    for other in work.rounded_otherwise(batch):
        assert other["image"].dtype == np.float32
        moved = np.abs(other["image"] / batch["image"] - 1)
        assert 2.0**-23 <= moved.min()
        assert moved.max() <= 2.0**-21


def test_a_loss_that_differs_is_refused_by_its_player():
    gradient = {"student": {"head": np.ones(3)}}
    with pytest.raises(AssertionError, match="the loss of student"):
        parity.check(({"student": 1.0}, gradient), ({"student": 1.01}, gradient), "by hand")


def test_a_gradient_of_another_sign_is_refused_whole():
    with pytest.raises(AssertionError, match="of its norm"):
        parity.compare_gradients({"head": np.ones(3)}, {"head": -np.ones(3)}, "the gradient")
