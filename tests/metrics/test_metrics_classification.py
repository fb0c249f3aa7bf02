"""Sums of a classifier's outputs against scikit-learn, NumPy and hand-computed values; padding changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    recall_score,
    top_k_accuracy_score,
)

from kdgan.metrics import classification

N, K = 50, 4
jitted = jax.jit(classification.sums, static_argnames="bins")


@pytest.fixture(scope="module")
def outputs():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, K, N)
    # Right more often than not, so that neither accuracy nor calibration is trivial.
    return rng.normal(size=(N, K)).astype(np.float32) + 1.5 * np.eye(K, dtype=np.float32)[labels], labels


def total(logits, labels, mask=None, **settings):
    mask = np.ones(len(labels), bool) if mask is None else mask
    return jitted(jnp.asarray(logits), jnp.asarray(labels), jnp.asarray(mask), **settings)


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int) -> float:
    """Guo et al. 2017, equation 3, read bin by bin."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    error = 0.0
    for low, high in zip(np.arange(bins) / bins, np.arange(1, bins + 1) / bins, strict=True):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return error


def test_summary_is_scikit_learns(outputs):
    logits, labels = outputs
    found = classification.summarise(jax.device_get(total(logits, labels)))
    probabilities = softmax(logits.astype(np.float64), axis=1)
    assert found["accuracy"] == accuracy_score(labels, logits.argmax(1))
    np.testing.assert_allclose(found["nll"], log_loss(labels, probabilities, labels=range(K)), rtol=1e-6)
    np.testing.assert_array_equal(found["confusion"], confusion_matrix(labels, logits.argmax(1), labels=range(K)))
    np.testing.assert_allclose(found["ece"], expected_calibration_error(probabilities, labels, 15), atol=1e-6)
    assert 0.5 < found["accuracy"] < 0.95
    assert found["ece"] > 0.02


@pytest.mark.parametrize("bins", [1, 2, 10])
def test_calibration_error_with_other_bins(outputs, bins):
    logits, labels = outputs
    found = classification.summarise(total(logits, labels, bins=bins))["ece"]
    expected = expected_calibration_error(softmax(logits.astype(np.float64), axis=1), labels, bins)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_calibration_error_by_hand():
    # Two bins of (0.5, 1], by tenths: 0.9, 0.9 (one right), 0.6 (right). (|1 − 1.8| + |1 − 0.6|)/3 = 0.4.
    logits = np.log([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4]]).astype(np.float32)
    sums = total(logits, np.array([0, 1, 0]), bins=10)
    np.testing.assert_array_equal(np.flatnonzero(sums["bin_count"]), [5, 8])
    np.testing.assert_allclose(classification.summarise(sums)["ece"], 0.4, rtol=1e-5)


def test_certainty_lies_in_the_last_bin():
    sums = total(np.array([[1e4, -1e4]], np.float32), np.array([0]))
    assert np.flatnonzero(sums["bin_count"]).tolist() == [14]
    assert classification.summarise(sums)["ece"] == 0


@pytest.mark.parametrize("mask_type", [bool, np.float32, np.int32])
def test_padding_changes_nothing_whatever_it_holds(outputs, mask_type):
    logits, labels = outputs
    padded = np.concatenate([logits, np.full((7, K), np.nan, np.float32)])
    padded_labels = np.concatenate([labels, [0, K + 5, -1, 1, 2, 3, 0]])
    mask = (np.arange(N + 7) < N).astype(mask_type)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
        total(padded, padded_labels, mask),
        total(logits, labels),
    )


def test_sums_of_batches_are_the_sums_of_the_whole(outputs):
    logits, labels = outputs
    parts = jax.tree.map(jnp.add, total(logits[:13], labels[:13]), total(logits[13:], labels[13:]))
    whole = total(logits, labels)
    assert parts.keys() == whole.keys()
    for name, part in parts.items():
        # Counts exactly; float sums to rounding.
        compare = np.testing.assert_array_equal if part.dtype == jnp.int32 else np.testing.assert_allclose
        compare(part, whole[name], **({} if part.dtype == jnp.int32 else {"rtol": 1e-6}))


def test_members_map_and_summarise_together(outputs):
    logits, labels = outputs
    members = jnp.stack([jnp.asarray(logits), -jnp.asarray(logits), jnp.zeros_like(logits)])
    step = jax.jit(jax.vmap(classification.sums, in_axes=(0, None, None)))
    sums = step(members, jnp.asarray(labels), jnp.ones(N, bool))
    together = classification.summarise(jax.device_get(sums))
    mapped = jax.jit(jax.vmap(classification.summarise))(sums)
    for i, member in enumerate(members):
        alone = classification.summarise(total(member, labels))
        for name, value in alone.items():
            np.testing.assert_allclose(together[name][i], value, rtol=1e-5, atol=1e-7)
            np.testing.assert_allclose(mapped[name][i], value, rtol=1e-5, atol=1e-7)


def test_a_label_out_of_range_shows_in_the_likelihood(outputs):
    logits, labels = outputs
    assert np.isnan(total(logits, np.where(np.arange(N) == 3, K, labels))["nll"])


def test_low_precision_logits(outputs):
    logits, labels = outputs
    rounded = jnp.asarray(logits, jnp.bfloat16)
    found, expected = total(rounded, labels), total(rounded.astype(jnp.float32), labels)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert found["nll"].dtype == jnp.float32


def test_nothing_counted_is_an_error(outputs):
    logits, labels = outputs
    with pytest.raises(ValueError, match="count is 0: no example"):
        classification.summarise(total(logits, labels, np.zeros(N, bool)))


def test_no_bins_are_an_error(outputs):
    with pytest.raises(ValueError, match="bins is 0"):
        total(*outputs, bins=0)


def test_top_n_is_scikit_learns(outputs):
    logits, labels = outputs
    for n in (1, 2, 3):
        found = classification.top_sums(jnp.asarray(logits), jnp.asarray(labels), jnp.ones(N), n=n)
        assert found[f"top_{n}"] == top_k_accuracy_score(labels, logits, k=n, labels=range(K), normalize=False)
    assert found.keys() == {"top_3"}
    assert classification.top_sums(jnp.asarray(logits), jnp.asarray(labels), jnp.ones(N))["top_5"] == N  # of 4 classes


def test_the_first_of_equal_logits_is_among_the_top_as_it_is_the_prediction():
    logits, labels, mask = jnp.zeros((4, 3)), jnp.arange(4) % 3, jnp.array([True, True, True, False])
    assert classification.top_sums(logits, labels, mask, n=1)["top_1"] == total(logits, labels, mask)["correct"] == 1
    assert classification.top_sums(logits, labels, mask, n=2)["top_2"] == 2


def test_what_is_not_a_number_is_not_among_the_top():
    logits = jnp.array([[jnp.nan, jnp.nan], [jnp.nan, jnp.nan], [2.0, 1.0]])
    found = classification.top_sums(logits, jnp.zeros(3, jnp.int32), jnp.array([1, 0, 1]), n=1)
    assert found["top_1"] == 1


def test_macro_f1_and_accuracy_of_each_class_are_scikit_learns(outputs):
    logits, labels = outputs
    found = classification.by_class(total(logits, labels)["confusion"])
    np.testing.assert_allclose(found["macro_f1"], f1_score(labels, logits.argmax(1), average="macro"), rtol=1e-12)
    np.testing.assert_allclose(
        found["class_accuracy"], recall_score(labels, logits.argmax(1), average=None), rtol=1e-12
    )


def test_classes_that_are_absent():
    """Class 2 has neither example nor prediction, class 1 only a wrong prediction."""
    confusion = np.array([[[3, 1, 0], [0, 0, 0], [0, 0, 0]]])
    found = classification.by_class(confusion)
    np.testing.assert_allclose(found["macro_f1"], [(6 / 7 + 0) / 2])
    np.testing.assert_array_equal(found["class_accuracy"], [[0.75, np.nan, np.nan]])
    assert found["macro_f1"][0] == f1_score([0, 0, 0, 0], [0, 0, 0, 1], average="macro")
