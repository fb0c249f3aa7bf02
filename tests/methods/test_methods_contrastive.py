"""CRD's negatives, its bank and whom it moves; InfoNCE in the batch by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import players as small
import tables
from kdgan import methods, models
from kdgan.methods.contrastive import negatives_of
from kdgan.models.adapters import Adapter

RNG = np.random.default_rng(3)
LABELS = np.array([0, 1, 0, 2])
S, T = (RNG.normal(size=(6, 3)).astype(np.float32) for _ in range(2))
VECTORS = {"student": RNG.normal(size=(6, 2)).astype(np.float32), "teacher": RNG.normal(size=(6, 5)).astype(np.float32)}
PLAYERS = {name: tables.table(logits, VECTORS[name]) for name, logits in (("student", S), ("teacher", T))}
BANKED = {**PLAYERS, "memory_bank": models.MemoryBank(10, 4, temperature=0.5)}
INDEX = np.array([8, 0, 3, 5], np.int32)
INDEXED = tables.batch(LABELS, index=INDEX)


def test_negatives_are_all_but_the_example_itself_drawn_evenly():
    rows = np.asarray(negatives_of(jax.random.key(0), jnp.asarray(INDEX), 9000, 10))
    np.testing.assert_array_equal(rows[:, 0], INDEX)
    for place, drawn in zip(INDEX, rows[:, 1:], strict=True):
        counts = np.bincount(drawn, minlength=10)
        assert counts[place] == 0
        others = np.delete(counts, place)
        assert others.sum() == 9000
        assert np.abs(others - 1000).max() < 5 * np.sqrt(1000)


def test_crd_is_the_banks_loss_on_drawn_rows():
    key = jax.random.key(5)
    method = methods.build("crd", negatives=6, of_data={"examples": 10})
    found, _ = tables.terms(method, BANKED, INDEXED, key=key)
    rows = negatives_of(key, jnp.asarray(INDEX), 6, 10)
    variables = small.make_state(method, BANKED, example=INDEXED)
    variables = {"params": variables.params["memory_bank"], **variables.model_state["memory_bank"]}
    vectors = [jnp.asarray(VECTORS[name][:4]) for name in ("student", "teacher")]
    wanted = BANKED["memory_bank"].apply(variables, *vectors, jnp.asarray(INDEX), rows)
    np.testing.assert_allclose(found["crd"], wanted, rtol=1e-5)
    assert set(found) == {"ce", "crd"}


def test_crd_writes_the_rows_of_the_batch_alone_and_moves_the_student_and_its_layers():
    method = methods.build("crd", negatives=6, labels=False)
    after, _, before = tables.stepped(method, BANKED, INDEXED)
    old, new = (state.model_state["memory_bank"]["memory"] for state in (before, after))
    others = np.setdiff1d(np.arange(10), INDEX)
    for name in ("student", "teacher"):
        np.testing.assert_array_equal(new[name][others], old[name][others])
        assert (np.abs(new[name][INDEX] - old[name][INDEX]).max(-1) > 0).all()
        layer = f"embed_{name}"
        moved = small.largest_difference(after.params["memory_bank"][layer], before.params["memory_bank"][layer])
        assert moved > 0
    assert small.largest_difference(after.params["teacher"], before.params["teacher"]) == 0
    vectors = after.params["student"]["vectors"] - before.params["student"]["vectors"]
    assert (np.abs(vectors).max(-1) > 0).tolist() == [True] * 4 + [False] * 2


def test_crd_compares_unlabelled_examples_too_where_it_is_asked():
    """The bank's rows of both are written, those of no other example."""
    given = tables.batch(LABELS, unlabelled=2, index=INDEX)
    given["unlabelled"]["index"] = np.array([1, 2], np.int32)
    method = methods.build("crd", negatives=6, labels=False, unlabelled=True)
    after, _, before = tables.stepped(method, BANKED, given)
    old, new = (state.model_state["memory_bank"]["memory"]["student"] for state in (before, after))
    assert np.flatnonzero(np.abs(new - old).max(-1)).tolist() == [0, 1, 2, 3, 5, 8]
    assert (np.abs(after.params["student"]["vectors"] - before.params["student"]["vectors"]).max(-1) > 0).all()


def test_what_crd_refuses():
    with pytest.raises(ValueError, match=r"players.memory_bank.model_args.examples = 10: batches are drawn from 7"):
        tables.terms(methods.build("crd", examples=7), BANKED, INDEXED)
    with pytest.raises(ValueError, match=r"method.negatives = 0: rows, a whole number of at least 1"):
        methods.build("crd", negatives=0)
    with pytest.raises(ValueError, match=r"method.examples = 7: the data say 10"):
        methods.build("crd", examples=7, of_data={"examples": 10})


def in_batch(s, t, counts):
    """−log of the softmax over those that count, of cosines over 0.1."""
    s, t = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (np.float64(s), np.float64(t)))
    scores = np.where(counts, s @ t.T / 0.1, -np.inf)
    return np.log(np.exp(scores).sum(-1)) - np.diag(scores)


@pytest.mark.parametrize("same_class", [True, False])
def test_an_embedding_is_to_find_its_teachers_among_those_of_the_batch(same_class):
    given = tables.batch(LABELS, unlabelled=2)
    method = methods.build("contrastive", temperature=0.1, same_class=same_class, unlabelled=same_class)
    players = {**PLAYERS, "adapter": Adapter()}
    found, bound = tables.terms(method, players, given)
    layer = jax.tree.map(np.float64, bound.adapter.params["embedding"])
    mapped = VECTORS["student"] @ layer["kernel"] + layer["bias"]
    n = 6 if same_class else 4
    counts = True if same_class else (LABELS[:, None] != LABELS[None, :]) | np.eye(4, dtype=bool)
    np.testing.assert_allclose(found["contrastive"], in_batch(mapped[:n], VECTORS["teacher"][:n], counts), rtol=1e-4)
    after, _, before = tables.stepped(method, players, given, ce=0.0)
    moved = {name: small.largest_difference(after.params[name], before.params[name]) > 0 for name in players}
    assert moved == {"student": True, "teacher": False, "adapter": True}


def test_contrasts_stand_beside_soft_labels():
    parts = ("kd", {"name": "crd", "negatives": 3}, "contrastive")
    found = tables.terms(methods.build("combine", parts=parts), {**BANKED, "adapter": Adapter()}, INDEXED)[0]
    assert set(found) == {"ce", "kd", "crd", "contrastive"}
