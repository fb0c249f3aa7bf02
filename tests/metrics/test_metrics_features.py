"""Extractors against the network run by hand, whatever the batches; real features are kept, found and mended on disk."""

import os

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from kdgan.metrics import features
from kdgan.models import LeNet5

LENET = LeNet5((2, 3), (6, 5), num_classes=4)


class Network(nn.Module):
    """A small network with batch norm, dropout and layers of every kind; it gives what `output` says."""

    output: str = "logits"

    @nn.compact
    def __call__(self, x, *, train: bool = False):
        x = nn.Conv(3, (3, 3), name="conv")(x)
        x = nn.BatchNorm(use_running_average=not train, name="bn")(x)
        x = nn.Dropout(0.5, deterministic=not train)(x)
        x = nn.Dense(4, name="head")(x.reshape(x.shape[0], -1))
        return {"logits": x, "score": nn.Sequential([lambda x: x[:, 0]], name="score")(x), "dict": {"mean": x}}[
            self.output
        ]


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def drawn(module, *shape, seed=3):
    """Variables drawn by NumPy, positive where they are variances."""
    shapes = jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.uniform(0.1, 1, size=leaf.shape), leaf.dtype), shapes)


@pytest.fixture(scope="module")
def lenet():
    variables, x = drawn(LENET, 1, 12, 12, 1), draw(0, 11, 12, 12, 1)
    return variables, x, features.make_extractor(LENET, variables, batch_size=4)


def test_features_and_probabilities_are_the_networks(lenet):
    variables, x, extractor = lenet
    logits, state = LENET.apply(variables, jnp.asarray(x), capture_intermediates=True, mutable=["intermediates"])
    found = extractor(x)
    np.testing.assert_allclose(found["features"], state["intermediates"]["embedding"]["__call__"][0], rtol=1e-5)
    np.testing.assert_allclose(found["probabilities"], softmax(logits, axis=1), rtol=1e-4, atol=1e-6)
    assert all(isinstance(value, np.ndarray) and value.dtype == np.float32 for value in found.values())


@pytest.mark.parametrize("batch_size", [11, 16])
def test_batches_change_nothing(lenet, batch_size):
    variables, x, extractor = lenet
    other = features.make_extractor(LENET, variables, batch_size=batch_size)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), extractor(x), other(jnp.asarray(x)))
    # One shape is compiled, however many images there are.
    np.testing.assert_array_equal(extractor(x[:3])["features"], extractor(x)["features"][:3])


def test_a_layer_of_images_is_averaged_over_them():
    module, x = Network(), draw(1, 3, 5, 6, 2)
    variables = drawn(module, 1, 5, 6, 2)
    found = features.make_extractor(module, variables, layer="bn", batch_size=2)(x)["features"]
    # By hand: SAME convolution, running statistics, no dropout.
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))).astype(np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    p, stats = (jax.device_get(variables[name]) for name in ("params", "batch_stats"))
    y = np.einsum("bhwcij,ijcd->bhwd", windows, p["conv"]["kernel"]) + p["conv"]["bias"]
    y = (y - stats["bn"]["mean"]) / np.sqrt(stats["bn"]["var"] + 1e-5) * p["bn"]["scale"] + p["bn"]["bias"]
    np.testing.assert_allclose(found, y.mean((1, 2)), rtol=1e-4)


def test_an_output_that_is_no_logits_gives_no_probabilities():
    module, x = Network("dict"), draw(1, 3, 5, 6, 2)
    found = features.make_extractor(module, drawn(module, 1, 5, 6, 2), layer="head", batch_size=4)(x)
    assert found["features"].shape == (3, 4)
    assert found["probabilities"] is None


def test_a_missing_layer_and_one_that_gives_no_features():
    module, x = Network("score"), draw(1, 3, 5, 6, 2)
    variables = drawn(module, 1, 5, 6, 2)
    with pytest.raises(ValueError, match="Network has no module at path 'embedding'"):
        features.make_extractor(module, variables)(x)
    with pytest.raises(ValueError, match=r"layer 'score' gives an array \(500,\); features are \[b, d\]"):
        features.make_extractor(module, variables, layer="score")(x)


def test_images_and_batch_sizes_that_are_none(lenet):
    variables, x, extractor = lenet
    with pytest.raises(ValueError, match=r"extractor 'lenet' got images of shape \(0, 12, 12, 1\)"):
        extractor(x[:0])
    with pytest.raises(ValueError, match="batch_size is 0"):
        features.make_extractor(LENET, variables, batch_size=0)


def test_label_and_fingerprint(lenet):
    variables, _, extractor = lenet
    assert extractor.label == "FD-lenet"
    assert features.make_extractor(LENET, variables, name="digits").label == "FD-digits"

    def fingerprint(module=LENET, variables=variables, layer="embedding"):
        return features.make_extractor(module, variables, layer=layer).fingerprint

    params = variables["params"]
    one_bit = params | {"head": params["head"] | {"bias": params["head"]["bias"].at[0].multiply(1 + 1e-7)}}
    others = [
        fingerprint(LeNet5((2, 3), (6, 5), num_classes=4, dropout=0.1)),
        fingerprint(variables={"params": one_bit}),
        fingerprint(layer="hidden1"),
    ]
    assert fingerprint() == extractor.fingerprint == fingerprint(variables=jax.device_get(variables))
    assert len({extractor.fingerprint, *others}) == 4


def test_a_function_in_a_module_does_not_change_the_fingerprint():
    def module():
        return nn.Sequential([nn.Dense(2), lambda x: x])

    one, other = module(), module()
    assert repr(one) != repr(other)
    assert len({features.make_extractor(m, {}, layer="layers_0").fingerprint for m in (one, other)}) == 1


def test_reference_is_computed_once_and_found_again(lenet, tmp_path):
    _, x, extractor = lenet
    calls = []

    def images():
        calls.append(0)
        return x

    cache = tmp_path / "new" / "folder"
    first = features.reference(extractor, images, data="digits", cache=cache)
    np.testing.assert_array_equal(first.features, extractor(x)["features"])
    np.testing.assert_allclose(first.mean, first.features.mean(0), rtol=1e-5)
    np.testing.assert_allclose(first.covariance, np.cov(first.features, rowvar=False), rtol=1e-4, atol=1e-6)
    again = features.reference(extractor, images, data="digits", cache=cache)
    assert len(calls) == 1
    for name, value in vars(first).items():
        np.testing.assert_array_equal(getattr(again, name), value)
    assert len(os.listdir(cache)) == 1  # and no temporary file
    features.reference(extractor, images, data="other digits", cache=cache)
    features.reference(extractor, images, data="digits")  # kept nowhere
    assert len(calls) == 3
    assert len(os.listdir(cache)) == 2


def test_reference_of_batches_and_without_probabilities(lenet, tmp_path):
    _, x, extractor = lenet
    whole = features.reference(extractor, lambda: x, data="")
    parts = features.reference(extractor, lambda: iter([x[:5], x[5:]]), data="")
    np.testing.assert_allclose(parts.features, whole.features, rtol=1e-5)
    np.testing.assert_allclose(parts.probabilities, whole.probabilities, rtol=1e-5)
    with pytest.raises(ValueError, match="no images to refer to"):
        features.reference(extractor, lambda: [], data="")
    without = features.Extractor("f", "FD-f", "", 20, lambda batch: (batch[:, 0, :, 0], None))
    for _ in range(2):
        found = features.reference(without, lambda: x, data="", cache=tmp_path)
        assert found.probabilities is None
        np.testing.assert_array_equal(found.features, x[:, 0, :, 0])


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other"])
def test_a_damaged_file_is_computed_again(lenet, tmp_path, damage):
    _, x, extractor = lenet
    expected = features.reference(extractor, lambda: x, data="", cache=tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    middle = whole.index(expected.features.tobytes()) + 9
    if damage == "other":
        np.savez(path, something=np.zeros(3))
    else:
        flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
        path.write_bytes({"cut": whole[:middle], "flipped": flipped, "empty": b""}[damage])
    found = features.reference(extractor, lambda: x, data="", cache=tmp_path)
    np.testing.assert_array_equal(found.features, expected.features)
    assert path.read_bytes() == whole


def test_a_folder_that_cannot_be_written_stops_nothing(lenet, tmp_path):
    _, x, extractor = lenet
    (tmp_path / "file").write_text("in the way")
    found = features.reference(extractor, lambda: x, data="", cache=tmp_path / "file" / "cache")
    assert len(found.features) == len(x)
