"""Weight selection: which units and blocks, and functions that survive it exactly."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from kdgan.models import CNN, MLP, ResNet
from kdgan.transfer import first, transfer, uniform
from random_networks import draw, drawn, edited, only, shapes

# Which entries


def test_uniform_selection_is_even_keeps_the_first_and_repeats_none():
    for wide in range(1, 25):
        for narrow in range(1, wide + 1):
            found = uniform(wide, narrow)
            assert found.tolist() == [int(i * wide / narrow + 1e-9) for i in range(narrow)]
            assert found[0] == 0
            assert found[-1] < wide
            assert set(np.diff(found)) <= {wide // narrow, -(-wide // narrow)}


def test_uniform_selection_commutes_with_a_flatten():
    for h, w, (narrow, wide) in itertools.product((1, 2, 3), (1, 5), [(1, 4), (3, 7), (5, 6), (4, 4), (2, 9)]):
        pixel, channel = np.divmod(np.arange(h * w * narrow), narrow)
        np.testing.assert_array_equal(
            uniform(h * w * wide, h * w * narrow), pixel * wide + uniform(wide, narrow)[channel]
        )


def test_leading_units_do_not_commute_with_a_flatten():
    # As the docstring warns: of 2 pixels with 4 channels, the leading 4 entries are all of the first pixel.
    assert first(8, 4).tolist() == [0, 1, 2, 3] != [0, 1, 4, 5]


@pytest.mark.parametrize(("how", "step"), [("uniform", 2), ("first", 1)])
def test_every_axis_of_an_mlp_by_hand(how, step):
    x = draw(0, 2, 8, 8, 1)
    wide, like = drawn(MLP((64, 32)), x), shapes(MLP((32, 16)), x)
    found, p = transfer(wide, like, how=how)["params"], wide["params"]
    a, b = np.arange(32) * step, np.arange(16) * step
    expected = {
        "dense1": {"kernel": p["dense1"]["kernel"][:, a], "bias": p["dense1"]["bias"][a]},
        "dense2": {"kernel": p["dense2"]["kernel"][a][:, b], "bias": p["dense2"]["bias"][b]},
        "head": {"kernel": p["head"]["kernel"][b], "bias": p["head"]["bias"]},
    }
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_equal_networks_are_copied_and_share_no_memory():
    x = draw(0, 2, 6)
    wide = jax.tree.map(jnp.asarray, drawn(MLP((4,)), x))
    found = transfer(wide, wide)
    jax.tree.map(np.testing.assert_array_equal, found, wide)
    # A step that is given the student's memory would take the teacher's with it.
    pointers = [{leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(tree)} for tree in (found, wide)]
    assert not pointers[0] & pointers[1]


def test_result_has_the_narrow_networks_dtypes_and_may_come_from_the_host():
    x = draw(0, 2, 6)
    wide, like = drawn(MLP((4,)), x), shapes(MLP((3,)), x)
    low = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.bfloat16), like)
    assert {leaf.dtype for leaf in jax.tree.leaves(transfer(wide, low))} == {jnp.dtype(jnp.bfloat16)}
    host = transfer(wide, like)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(host))
    jax.tree.map(np.testing.assert_array_equal, host, transfer(jax.tree.map(jnp.asarray, wide), like))


def test_members_are_mapped_and_gradients_land_on_the_selected_entries():
    wide, like = {"d": {"kernel": draw(0, 3, 5, 4)}}, {"d": {"kernel": jnp.zeros((2, 3))}}
    found = jax.jit(jax.vmap(lambda w: transfer(w, like)))(wide)["d"]["kernel"]
    np.testing.assert_array_equal(found, np.asarray(wide["d"]["kernel"])[:, [0, 2]][:, :, [0, 1, 2]])
    one = {"d": {"kernel": wide["d"]["kernel"][0]}}
    gradient = jax.grad(lambda w: transfer(w, like, scale=1.0)["d"]["kernel"].sum())(one)["d"]["kernel"]
    expected = np.zeros((5, 4))
    expected[np.ix_([0, 2], [0, 1, 2])] = 2.5
    np.testing.assert_allclose(gradient, expected)


# Functions that survive


@pytest.mark.parametrize("how", ["uniform", "first"])
def test_an_mlp_that_uses_only_the_selected_units_is_reproduced(how):
    select = {"uniform": uniform, "first": first}[how]
    x = draw(0, 5, 6)
    wide = edited(
        drawn(MLP((7, 5)), x),
        dense2__kernel=only(select(7, 3)),
        head__kernel=only(select(5, 2)),
    )
    found = transfer(wide, shapes(MLP((3, 2)), x), how=how)
    np.testing.assert_allclose(MLP((3, 2)).apply(found, x), MLP((7, 5)).apply(wide, x), rtol=1e-5, atol=1e-5)


def test_a_cnn_that_uses_only_the_selected_channels_is_reproduced_through_its_flatten():
    x, small = draw(0, 3, 8, 8, 1), CNN((2, 3), 3)
    kept = [s * 7 + c for s in range(4) for c in (0, 2, 4)]
    wide = edited(
        drawn(CNN((5, 7), 4), x),
        conv2__kernel=only([0, 2]),
        dense1__kernel=only(kept),
        head__kernel=only([0, 1, 2]),
    )
    found = transfer(wide, shapes(small, x))
    np.testing.assert_allclose(small.apply(found, x), CNN((5, 7), 4).apply(wide, x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("repeats", [2, 4])
def test_a_net_widened_by_repeating_its_units_is_restored_exactly_by_scale_one(repeats):
    x = draw(0, 2, 4, 4, 1)
    narrow = drawn(CNN((3,), 2), x)
    grown = lambda kernel: np.repeat(kernel, repeats, axis=-2) / repeats
    outputs = lambda leaf: np.repeat(leaf, repeats, axis=-1)
    wide = edited(
        narrow,
        conv1__kernel=outputs,
        conv1__bias=outputs,
        # The flatten's inputs: channels repeat inside each pixel.
        dense1__kernel=lambda kernel: outputs(grown(kernel)),
        dense1__bias=outputs,
        head__kernel=grown,
    )
    wide_outputs = CNN((3 * repeats,), 2 * repeats).apply(wide, x)
    np.testing.assert_allclose(wide_outputs, CNN((3,), 2).apply(narrow, x), rtol=1e-5, atol=1e-5)
    # The repeats are powers of two, and so divide without rounding.
    jax.tree.map(np.testing.assert_array_equal, transfer(wide, narrow, scale=1.0), narrow)
    halved = transfer(wide, narrow)["params"]["head"]
    np.testing.assert_array_equal(halved["kernel"] * repeats, narrow["params"]["head"]["kernel"])


def test_scale_of_one_half_keeps_the_variance_of_sums_over_independent_inputs():
    # Var Σ_i w_i x_i = Σ_i w_i² for independent inputs of variance 1: 12 for twelve weights of ±1.
    signs = np.sign(draw(0, 12, 6))
    for shape in ((12, 6), (1, 1, 12, 6)):
        wide = {"l": {"kernel": signs.reshape(shape), "bias": np.ones(6)}, "e": {"embedding": np.ones((12, 6))}}
        like = {
            "l": {"kernel": jnp.zeros((*shape[:-2], 5, 3)), "bias": jnp.zeros(3)},
            "e": {"embedding": jnp.zeros((5, 3))},
        }
        found = transfer(wide, like, scale=0.5)
        np.testing.assert_allclose((found["l"]["kernel"] ** 2).sum(-2), np.full((*shape[:-2], 3), 12.0), rtol=1e-6)
        # What has no input axis is as it was.
        np.testing.assert_array_equal(found["l"]["bias"], np.ones(3))
        np.testing.assert_array_equal(found["e"]["embedding"], np.ones((5, 3)))


@pytest.mark.parametrize(("sizes", "rim"), [((5, 3), [0, 4]), ((5, 4), [0]), ((4, 3), [3])])
def test_a_convolutions_window_is_cut_where_padding_keeps_it_in_place(sizes, rim):
    x = draw(0, 2, 5, 5, 2)
    wide, small = (nn.Conv(3, (size, size)) for size in sizes)

    def without_rim(kernel):
        kernel[rim] = 0
        kernel[:, rim] = 0
        return kernel

    variables = edited(drawn(wide, x), kernel=without_rim)
    found = transfer(variables, shapes(small, x))
    np.testing.assert_allclose(small.apply(found, x), wide.apply(variables, x), rtol=1e-5, atol=1e-5)


# Depth


def net(n):
    return ResNet(4 * n + 2, stem=2, features=(2, 4))


@pytest.mark.parametrize(("depth", "kept"), [("uniform", (1, 3)), ("first", (1, 2))])
def test_a_resnet_whose_other_blocks_do_nothing_is_reproduced_by_half_of_them(depth, kept):
    x = draw(0, 2, 4, 4, 1)
    wide = drawn(net(4), x)
    for stage, block in itertools.product((1, 2), {2, 3, 4} - set(kept)):
        # The sum is then the block's input, which is rectified already.
        silent = {f"stage{stage}__block{block}__bn2__{name}": np.zeros_like for name in ("scale", "bias")}
        silent |= {f"stage{stage}__block{block}__conv2__kernel": np.zeros_like}
        wide = edited(wide, **silent)
        statistics = wide["batch_stats"][f"stage{stage}"][f"block{block}"]["bn2"]
        statistics["mean"] = np.zeros_like(statistics["mean"])
    found = transfer(wide, shapes(net(2), x), depth=depth)
    for i, source in enumerate(kept, start=1):
        jax.tree.map(
            np.testing.assert_array_equal,
            found["batch_stats"]["stage2"][f"block{i}"],
            wide["batch_stats"]["stage2"][f"block{source}"],
        )
    np.testing.assert_allclose(net(2).apply(found, x), net(4).apply(wide, x), rtol=1e-4, atol=1e-4)


def test_blocks_and_channels_shrink_together():
    x, small = draw(0, 2, 4, 4, 1), ResNet(10, stem=1, features=(1, 2))
    wide = drawn(net(4), x)
    found = transfer(wide, shapes(small, x))
    np.testing.assert_array_equal(
        found["params"]["stage2"]["block2"]["conv1"]["kernel"],
        wide["params"]["stage2"]["block3"]["conv1"]["kernel"][:, :, ::2, ::2],
    )
    np.testing.assert_array_equal(
        found["params"]["stage2"]["block1"]["shortcut_conv"]["kernel"],
        wide["params"]["stage2"]["block1"]["shortcut_conv"]["kernel"][:, :, ::2, ::2],
    )
    np.testing.assert_array_equal(
        found["batch_stats"]["stage1"]["block2"]["bn2"]["var"],
        wide["batch_stats"]["stage1"]["block3"]["bn2"]["var"][::2],
    )


def numbered(names):
    return {name: {"scale": jnp.full(1, float(i))} for i, name in enumerate(names.split())}


@pytest.mark.parametrize(
    ("wide", "like", "expected"),
    [
        ("b0 b1 b2 b3 b4", "b0 b1", [0, 2]),
        ("b1 b2 b3 b4 b5", "b1 b2 b3", [0, 1, 3]),
        ("b9 b10 b11 b12", "b9 b10", [0, 2]),  # by number, not by letter
        ("a1 a2 b1 b2 b3 b4", "a1 a2 b1 b2", [0, 1, 2, 4]),  # each stem by itself
        ("b1 b2 b3 b4", "b2 b3", [1, 2]),  # another first number: no sequence of blocks, so by name
        ("b1 b2 b4", "b1 b2", [0, 1]),  # a gap: by name
        ("b1 b2 b3 head", "b1 head", [0, 3]),
    ],
)
def test_which_block_stands_for_which(wide, like, expected):
    found = transfer(numbered(wide), numbered(like))
    assert [float(found[name]["scale"][0]) for name in like.split()] == expected


def test_blocks_are_counted_over_all_collections():
    # The first block has no statistics; alone, the statistics would be counted from 2 and taken by name or by another
    # count than the parameters'.
    blocks = lambda n: {
        "params": {f"b{i}": {"w": jnp.full(1, float(i))} for i in range(1, n + 1)},
        "batch_stats": {f"b{i}": {"mean": jnp.full(1, float(i))} for i in range(2, n + 1)},
    }
    found = transfer(blocks(6), blocks(3))
    assert [float(leaf["w"][0]) for leaf in found["params"].values()] == [1, 3, 5]
    assert [float(leaf["mean"][0]) for leaf in found["batch_stats"].values()] == [3, 5]


# What is missing or does not fit


def test_a_layer_of_its_own_stays_fresh_only_where_allowed():
    wide, like = {"d": {"bias": jnp.arange(4.0)}}, {"d": {"bias": jnp.zeros(2)}, "own": {"bias": jnp.full(2, 7.0)}}
    with pytest.raises(ValueError, match=r"own/bias \(2,\) has no counterpart own/bias .*missing='fresh'"):
        transfer(wide, like)
    found = transfer(wide, like, missing="fresh")
    assert found["d"]["bias"].tolist() == [0, 2]
    assert found["own"]["bias"].tolist() == [7, 7]
    with pytest.raises(ValueError, match=r"own/bias \(2,\) .*without a value to keep"):
        transfer(wide, jax.eval_shape(lambda: like), missing="fresh")


def test_a_deeper_network_finds_no_counterpart():
    with pytest.raises(ValueError, match=r"b3/scale \(1,\) has no counterpart b3/scale"):
        transfer(numbered("b1 b2"), numbered("b1 b2 b3"))


def test_networks_without_a_common_path_are_refused_even_where_fresh_values_are_allowed():
    with pytest.raises(ValueError, match=r"as b1/scale, .*as c1/scale.*name their layers alike"):
        transfer(numbered("c1"), numbered("b1"), missing="fresh")


@pytest.mark.parametrize("shape", [(5, 2), (4, 3), (4,), (1, 4, 2)])
def test_a_shape_that_is_no_part_of_the_wide_one_names_path_and_shapes(shape):
    wide, like = {"d": {"kernel": jnp.zeros((4, 2))}}, {"d": {"kernel": jnp.zeros(shape)}}
    with pytest.raises(ValueError, match=re.escape(f"d/kernel has shape {shape} in the narrow network and (4, 2)")):
        transfer(wide, like)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(how="random"), "how is 'random'; it accepts 'uniform', 'first', 'low_rank'"),
        (dict(depth="low_rank"), "depth is 'low_rank'; it accepts 'uniform', 'first'"),
        (dict(missing="skip"), "missing is 'skip'; it accepts 'refuse', 'fresh'"),
        (dict(scale=float("nan")), "scale is nan; it must be a finite number"),
        (dict(how="low_rank"), "no layer as two factors NAME_a and NAME_b"),
    ],
)
def test_options_that_are_not_accepted(options, message):
    with pytest.raises(ValueError, match=message):
        transfer(numbered("b1"), numbered("b1"), **options)
