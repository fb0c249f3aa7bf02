"""Models of tokens: equations in NumPy, padding that changes nothing, causality, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan.models import CausalTransformer, EmbeddingBag, TextCNN, TextTransformer, build
from kdgan.models.text import out_of_range

VOCABULARY = 11
TOKENS = np.random.default_rng(0).integers(0, VOCABULARY, size=(3, 6)).astype(np.int32)
MASK = np.arange(6)[None, :] < np.array([6, 4, 1])[:, None]
SMALL = dict(vocabulary=VOCABULARY, width=4, depth=1, heads=2, hidden=6)
MODULES = {
    "embedding_bag": EmbeddingBag(VOCABULARY, width=5, hidden=(4,), num_classes=3),
    "text_cnn": TextCNN(VOCABULARY, width=5, windows=(2, 3), maps=4, num_classes=3),
    "text_transformer": TextTransformer(**SMALL, num_classes=3),
    "causal_transformer": CausalTransformer(**SMALL),
}


def drawn(module):
    """Variables drawn by NumPy: compiling JAX's samplers takes longer than the tests."""
    rng = np.random.default_rng(3)
    shapes = jax.eval_shape(lambda key: module.init(key, jnp.asarray(TOKENS)), jax.random.key(0))
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) * 0.5, leaf.dtype), shapes)


@pytest.fixture(scope="module", params=list(MODULES))
def case(request):
    """(name, variables, (tokens, mask) -> output)"""
    module = MODULES[request.param]
    variables = drawn(module)
    run = jax.jit(lambda variables, tokens, mask: module.apply(variables, tokens, mask))
    return request.param, variables, lambda tokens, mask: run(variables, jnp.asarray(tokens), jnp.asarray(mask))


def test_padding_changes_nothing(case):
    """Neither what stands at it, nor how much of it there is."""
    name, _, run = case
    output = run(TOKENS, MASK)
    other = np.where(MASK, TOKENS, (TOKENS + 1) % VOCABULARY)
    longer = np.pad(TOKENS, ((0, 0), (0, 2))), np.pad(MASK, ((0, 0), (0, 2)))
    if name == "causal_transformer":  # an output for each token
        kept = lambda x: np.asarray(x)[:, :6][MASK]
    else:
        kept = np.asarray
    np.testing.assert_allclose(kept(run(other, MASK)), kept(output), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(kept(run(*longer)), kept(output), rtol=1e-5, atol=1e-5)
    assert np.isfinite(run(TOKENS, np.zeros_like(MASK))).all()  # a text without any token


def test_without_a_mask_every_token_counts(case):
    name, variables, run = case
    found = jax.jit(MODULES[name].apply)(variables, jnp.asarray(TOKENS))
    np.testing.assert_allclose(found, run(TOKENS, np.ones_like(MASK)), rtol=1e-5, atol=1e-5)
    assert found.shape == ((3, 6, VOCABULARY) if name == "causal_transformer" else (3, 3))


def test_a_token_out_of_range_is_not_a_number(case):
    name, _, run = case
    wrong = TOKENS.copy()
    wrong[1, 0] = VOCABULARY
    output = np.asarray(run(wrong, MASK))
    assert np.isnan(output[1]).all()
    assert np.isfinite(output[[0, 2]]).all()


def test_the_first_example_that_is_out_of_range():
    assert out_of_range(TOKENS, VOCABULARY) is None
    wrong = TOKENS.copy()
    wrong[1, 3], wrong[2, 0] = 40, -1
    assert out_of_range(wrong, VOCABULARY) == (1, 40)
    assert out_of_range(wrong[2:], VOCABULARY) == (0, -1)
    assert out_of_range(np.zeros((0, 4), np.int32), VOCABULARY) is None


def test_embedding_bag_is_its_equation():
    module = MODULES["embedding_bag"]
    variables = drawn(module)
    p = jax.tree.map(np.float64, variables["params"])
    mean = np.stack([p["tokens"]["embedding"][row[keep]].mean(0) for row, keep in zip(TOKENS, MASK, strict=True)])
    hidden = np.maximum(mean @ p["dense1"]["kernel"] + p["dense1"]["bias"], 0)
    expected = hidden @ p["head"]["kernel"] + p["head"]["bias"]
    np.testing.assert_allclose(module.apply(variables, jnp.asarray(TOKENS), jnp.asarray(MASK)), expected, rtol=1e-5)


def test_text_cnn_is_a_convolution_and_the_largest_value():
    module = TextCNN(VOCABULARY, width=5, windows=(3,), maps=4, num_classes=3)
    variables = drawn(module)
    p = jax.tree.map(np.float64, variables["params"])
    expected = []
    for row in TOKENS:
        x = np.pad(p["tokens"]["embedding"][row], ((1, 1), (0, 0)))
        kernel = p["window1"]["kernel"].reshape(3, 5, 4)
        maps = np.stack([np.einsum("we,wem->m", x[i : i + 3], kernel) for i in range(6)]) + p["window1"]["bias"]
        expected.append(np.maximum(maps, 0).max(0) @ p["head"]["kernel"] + p["head"]["bias"])
    np.testing.assert_allclose(module.apply(variables, jnp.asarray(TOKENS)), expected, rtol=1e-5, atol=1e-6)


def test_order_counts_but_in_a_bag(case):
    name, _, run = case
    if name != "causal_transformer":
        everything = np.ones_like(MASK)
        apart = np.abs(run(TOKENS, everything) - run(TOKENS[:, ::-1].copy(), everything)).max()
        assert (apart < 1e-5) == (name == "embedding_bag")


def test_a_language_model_sees_no_token_that_is_to_come(case):
    name, _, run = case
    if name == "causal_transformer":
        other = TOKENS.copy()
        other[:, 4] = (other[:, 4] + 1) % VOCABULARY
        found, changed = (np.asarray(run(tokens, np.ones_like(MASK))) for tokens in (TOKENS, other))
        np.testing.assert_array_equal(changed[:, :4], found[:, :4])
        assert np.all(np.abs(changed[:, 4:] - found[:, 4:]).max(-1) > 1e-4)


def test_every_parameter_of_a_transformer_has_a_gradient():
    module = MODULES["text_transformer"]
    variables = drawn(module)
    loss = lambda params: jnp.sum(module.apply({"params": params}, jnp.asarray(TOKENS), jnp.asarray(MASK)) ** 2)
    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.jit(jax.grad(loss))(variables["params"])):
        # A shift of all keys leaves a softmax over them as it is.
        if "['key']['bias']" not in jax.tree_util.keystr(path):
            assert np.abs(leaf).max() > 0, jax.tree_util.keystr(path)


def test_dropout_draws_while_training():
    module = TextTransformer(**SMALL, num_classes=3, dropout=0.5)
    variables = drawn(module)
    run = jax.jit(lambda key: module.apply(variables, jnp.asarray(TOKENS), train=True, rngs={"dropout": key}))
    first, second = (run(jax.random.key(seed)) for seed in (0, 1))
    assert np.abs(first - second).max() > 1e-3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: EmbeddingBag().init(jax.random.key(0), jnp.zeros((2, 3))),
            r"float32\[2, 3\]; it accepts tokens, integers",
        ),
        (
            lambda: TextCNN().init(jax.random.key(0), jnp.zeros((2, 3, 1), jnp.int32)),
            r"int32\[2, 3, 1\]; it accepts tokens",
        ),
        (
            lambda: EmbeddingBag().init(jax.random.key(0), jnp.zeros((2, 3), jnp.int32), jnp.ones((2, 4), bool)),
            r"mask of shape \(2, 4\) beside tokens of shape \(2, 3\)",
        ),
        (lambda: build("text_transformer", width=6, heads=4), r"heads = 4; it accepts divisors of its width, 6"),
        (lambda: build("embedding_bag", vocabulary=0), r"EmbeddingBag.vocabulary = 0; it accepts whole numbers"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
