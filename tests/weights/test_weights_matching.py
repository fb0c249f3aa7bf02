"""Which layer is which: by name, shape and order, or refused; what is missing, left over or of another shape is named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from kdgan import models, weights
from kdgan.weights import fitting, flattened
from kdgan.weights.tree import PYTORCH, Tree

RNG = np.random.default_rng(0)


class Layers(nn.Module):
    """Dense layers of these names and widths, in this order."""

    layers: tuple

    @nn.compact
    def __call__(self, x, train=False):
        for name, width in self.layers:
            x = nn.Dense(width, name=name)(x)
        return x


def linear(*names, inputs=4, outputs=4):
    """A state dict of linear layers; each is told by the first entry of its bias."""
    state = {}
    for i, name in enumerate(names):
        state[f"{name}.weight"] = RNG.normal(size=(outputs, inputs)).astype(np.float32)
        state[f"{name}.bias"] = np.full(outputs, i, np.float32)
    return state


def fit(state, module, shape=(1, 4), *, in_order=True, **options):
    return weights.fit(Tree("w.pth", PYTORCH, state, "PyTorch .pth", in_order), module, shape, **options)


def told(state, module, **options):
    """Name of the module's layer -> the file's."""
    _, rows = fit(state, module, **options)
    return {row.name: row.other for row in rows.rows}


THREE = Layers((("a", 4), ("b", 4), ("c", 4)))


def test_layers_of_one_shape_go_by_the_order_of_the_file():
    assert told(linear("net.2", "net.4", "net.9"), THREE) == {"a": "net.2", "b": "net.4", "c": "net.9"}
    assert told(linear("x", "head", "f"), THREE) == {"a": "x", "b": "head", "c": "f"}


def test_names_that_agree_count_more_than_the_order():
    assert told(linear("c", "a", "b"), THREE) == {"a": "a", "b": "b", "c": "c"}
    assert told(linear("body.c", "body.a", "body.b"), THREE) == {"a": "body.a", "b": "body.b", "c": "body.c"}


def test_a_name_that_is_given_counts_before_all():
    state = linear("x", "y", "z")
    assert told(state, THREE, names={"b": "x"}) == {"b": "x", "a": "y", "c": "z"}
    assert told(linear("a", "b", "c"), THREE, names={"a": "b", "b": "a"}) == {"a": "b", "b": "a", "c": "c"}
    _, rows = fit(state, THREE, names={"b": "x"})
    assert [row.how for row in rows.rows] == ["order", "given", "order"]


@pytest.mark.parametrize(("names", "message"), [
    ({"aa": "x"}, r"names: the module has no layer 'aa' \(the nearest name is 'a'\)"),
    ({"a": "xx"}, r"names: the file has no layer 'xx' \(the nearest name is 'x'\)"),
    ({"a": "x", "b": "x"}, "names gives 'x' to two layers"),
    ({"a": "norm"}, r"names gives 'norm' for 'a', which is weight \[4\], bias \[4\]; bias \[4\], weight \[4, 4\] fits"),
])  # fmt: skip
def test_names_that_are_none_are_refused(names, message):
    state = {**linear("x", "y", "z"), "norm.weight": np.ones(4), "norm.bias": np.ones(4)}
    with pytest.raises(ValueError, match=message):
        fit(state, THREE, names=names)


def test_a_file_without_an_order_is_read_by_the_numbers_in_its_names():
    assert told(linear("net.10", "net.2", "net.9"), THREE, in_order=False) == {
        "a": "net.2",
        "b": "net.9",
        "c": "net.10",
    }


def test_a_file_without_an_order_whose_names_tell_nothing_is_refused():
    with pytest.raises(ValueError, match=r"'a' cannot be told, 'x' or 'y' or 'z': the file has no order") as error:
        fit(linear("x", "y", "z"), THREE, in_order=False)
    assert str(error.value).endswith('say it, names={"a": "x"}')
    names = {"a": "z", "b": "x", "c": "y"}
    assert told(linear("x", "y", "z"), THREE, in_order=False, names=names) == names


def test_order_and_numbers_that_contradict_each_other_are_refused():
    with pytest.raises(ValueError, match="the file has them in another order than their numbers"):
        fit(linear("fc2", "fc1", "fc3"), THREE)


def test_names_that_agree_in_part_and_contradict_the_order_are_refused():
    module = Layers((("fc1", 4), ("fc2", 4), ("fc3", 4)))
    with pytest.raises(ValueError, match="its name and the order say different things"):
        fit(linear("fc0", "fc1", "fc2"), module)


class Bottleneck(nn.Module):
    """Blocks whose shortcut has the shape of their last layer, and is called first."""

    first: bool = True

    @nn.compact
    def __call__(self, x, train=False):
        for i in (1, 2, 3):
            y = nn.Dense(4, name=f"block{i}_shortcut")(x) if self.first and i == 1 else None
            for j in (1, 2):
                x = nn.Dense(4, name=f"block{i}_conv{j}")(x)
            if i == 1:
                x = x + (nn.Dense(4, name="block1_shortcut")(x) if y is None else y)
        return x


def test_a_shortcut_is_not_exchanged_with_the_layer_of_its_shape():
    blocks = [f"layer.{i}.conv{j}" for i in range(3) for j in (1, 2)]
    names = [*blocks[:2], "layer.0.downsample.0", *blocks[2:]]
    with pytest.raises(ValueError, match="order and names say different things"):
        fit(linear(*names), Bottleneck())
    assert told(linear(*names), Bottleneck(first=False))["block1_shortcut"] == "layer.0.downsample.0"
    # Without an order, there is one shortcut and six others.
    assert told(linear(*sorted(names)), Bottleneck(), in_order=False)["block1_shortcut"] == "layer.0.downsample.0"


class Attention(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        for i in (1, 2):
            x = nn.MultiHeadDotProductAttention(2, name=f"block{i}")(x)
        return x


@pytest.mark.parametrize(
    "ends", [("key", "query", "value", "out"), ("k", "q", "v", "o"), ("k_proj", "q_proj", "v_proj", "o_proj")]
)
def test_projections_of_attention_are_not_exchanged(ends):
    names = [f"h.{i}.attn.{end}" for i in range(2) for end in ends]
    with pytest.raises(ValueError, match="order and names say different things"):
        fit(linear(*names), Attention(), jnp.zeros((1, 3, 4)))
    found = told(linear(*sorted(names)), Attention(), shape=jnp.zeros((1, 3, 4)), in_order=False)
    assert found["block2/query"] == f"h.1.attn.{ends[1]}"
    assert found["block1/out"] == f"h.0.attn.{ends[3]}"


RESNET = models.ResNet(14, 4, (4, 6, 8), 5)


def state_of_resnet(classes=5):
    shapes = jax.eval_shape(RESNET.init, jax.random.key(0), jnp.zeros((1, 8, 8, 3)))["params"]
    state = {}
    conv = lambda name, kernel: state.update(
        {f"{name}.weight": RNG.normal(size=[kernel.shape[i] for i in (3, 2, 0, 1)])}
    )

    def norm(name, size):
        for part in ("weight", "bias", "running_mean", "running_var"):
            state[f"{name}.{part}"] = RNG.normal(size=size)
        state[f"{name}.num_batches_tracked"] = np.array(3)

    conv("stem.conv", shapes["conv1"]["kernel"])
    norm("stem.bn", 4)
    for i, width in enumerate((4, 6, 8), start=1):
        for j in (1, 2):
            block = shapes[f"stage{i}"][f"block{j}"]
            for k in (1, 2):
                conv(f"layer{i}.{j - 1}.conv{k}", block[f"conv{k}"]["kernel"])
                norm(f"layer{i}.{j - 1}.bn{k}", width)
            if "shortcut_conv" in block:
                conv(f"layer{i}.{j - 1}.downsample.0", block["shortcut_conv"]["kernel"])
                norm(f"layer{i}.{j - 1}.downsample.1", width)
    state["fc.weight"], state["fc.bias"] = RNG.normal(size=(classes, 8)), np.zeros(classes)
    return {name: np.asarray(value, np.float32) for name, value in state.items()}


def test_a_residual_network_is_told_with_the_order_and_without_it():
    state = state_of_resnet()
    expected = told(state, RESNET, shape=(1, 8, 8, 3))
    assert expected["bn1"] == "stem.bn"
    assert expected["stage2/block1/bn2"] == "layer2.0.bn2"
    assert expected["stage2/block1/shortcut_bn"] == "layer2.0.downsample.1"
    assert told(dict(sorted(state.items())), RESNET, shape=(1, 8, 8, 3), in_order=False) == expected


def without(*names, **more):
    state = {name: value for name, value in state_of_resnet().items() if not name.startswith(names)}
    return {**state, **more}


@pytest.mark.parametrize(("state", "message"), [
    (without("fc"), r"missing: head \(\[5, 8\] with bias\)"),
    (without("stem.conv", **{"sten.conv.weight": np.zeros((4, 1, 3, 3))}),
     r"of another shape: conv1 wants \[4, 3, 3, 3\], sten.conv.weight has \[4, 1, 3, 3\]"),
    (without(**{"aux.weight": np.zeros((3, 3)), "aux.bias": np.zeros(3)}), r"left over: aux \(\[3, 3\] with bias\)"),
    (state_of_resnet(classes=100),
     r"of another shape: head wants \[5, 8\], fc.weight has \[100, 8\]: 100 classes there, 5 here"),
    (without("layer3"),
     r"missing: stage3/block1/conv1 .*, stage3/block1/bn1 \(\[8\] with bias, running_mean, running_var\), .* and 5 more$"),
    (without(**{"stem.conv.bias": np.zeros(4)}),
     r"missing: conv1 .* \(the nearest name is 'stem.conv'\); left over: stem.conv \(\[4, 3, 3, 3\] with bias\)"),
    ({"pos_embed": np.zeros((1, 3)), **without()}, r"left over:  ?\(pos_embed \[1, 3\]\)"),
])  # fmt: skip
def test_what_does_not_fit_is_named(state, message):
    with pytest.raises(ValueError, match=message) as error:
        fit(state, RESNET, (1, 8, 8, 3))
    assert "its layers do not fit ResNet" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_part_of_another_size_comes_as_it_is():
    head = lambda path: path.startswith("head")
    variables, _ = fit(state_of_resnet(classes=100), RESNET, (1, 8, 8, 3), any_size=head)
    assert variables["params"]["head"]["kernel"].shape == (8, 100)
    fit(without("fc"), RESNET, (1, 8, 8, 3), any_size=head)


def test_whole_numbers_are_no_weights_and_half_precision_becomes_what_the_module_has():
    state = {name: value.astype(np.float16) for name, value in linear("x", "y", "z").items()}
    variables, _ = fit(state, THREE)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(variables)} == {"float32"}
    state["x.weight"] = state["x.weight"].astype(np.int8)
    with pytest.raises(ValueError, match="its a/kernel is of int8, the module's of float32"):
        fit(state, THREE)


def test_the_map_has_a_line_for_each_layer():
    _, rows = fit(linear("net.0", "net.2", "net.4"), THREE)
    assert rows.summary == "PyTorch .pth: 3 layers, 3 by order"
    assert str(rows).splitlines()[1] == "a <- net.0  by order  bias [4], kernel [4, 4]"
    assert len(str(rows).splitlines()) == 4


class Images(nn.Module):
    """A dense layer on an image flattened with channels last, or first, beside one of a vector of the same size."""

    channels_first: bool = False

    @nn.compact
    def __call__(self, x, train=False):
        y = nn.relu(jnp.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0))))
        y = y.transpose(0, 3, 1, 2) if self.channels_first else y
        y = nn.Dense(18, name="reads")(y.reshape(-1, 18))
        y = nn.Dense(18, name="plain")(y)
        return nn.Conv(1, (1, 1), name="last")(nn.Dense(18, name="makes")(y).reshape(-1, 3, 2, 3))


@pytest.mark.parametrize("channels_first", [False, True])
def test_only_layers_that_meet_flattened_images_are_put_in_another_order(channels_first):
    orders = flattened.orders(Images(channels_first), fitting._inputs((2, 2, 2, 3)))
    assert set(orders.rows) == (set() if channels_first else {"params/reads/kernel"})
    assert set(orders.columns) == {"params/makes/kernel"}
    assert set(orders.vectors) == {"params/makes/bias"}
    # Entry (row i, column j, channel c) of 3×2×3 stands at c·6 + i·2 + j where channels come first.
    places = [c * 6 + i * 2 + j for i in range(3) for j in range(2) for c in range(3)]
    for kind in orders:
        for path, order in kind.items():
            assert order.of(18, path).tolist() == places


def test_an_order_of_other_channels_has_the_same_pixels():
    order = flattened.orders(Images(), fitting._inputs((2, 2, 2, 3))).rows["params/reads/kernel"]
    assert order.of(12, "x").tolist() == [c * 6 + i * 2 + j for i in range(3) for j in range(2) for c in range(2)]
    with pytest.raises(ValueError, match="reads a flattened image of 18 numbers; 13 are none"):
        order.of(13, "reads/kernel")
