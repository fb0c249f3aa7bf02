"""Students without a teacher: virtual labels, their own past, partners of their class, heads on blocks, their average."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import log_softmax, softmax

import players as small
import tables
from kdgan import methods, models
from kdgan.checkpoints import leaves
from kdgan.losses import smoothing
from kdgan.losses.logits import kl_divergence
from kdgan.methods.alone import partners
from kdgan.step import make_train_step

RNG = np.random.default_rng(1)
S = RNG.normal(size=(6, 3)).astype(np.float32)
VECTORS = RNG.normal(size=(6, 2)).astype(np.float32)
LABELS = np.array([0, 1, 0, 0, 2, 1])
STUDENT = {"student": tables.table(S, VECTORS)}
LABELLED = tables.batch(LABELS)


def terms(name, given=LABELLED, players=STUDENT, step=0, **arguments):
    return tables.terms(methods.build(name, **arguments), players, given, step=step)[0]


def test_a_virtual_teacher_by_hand():
    designed = np.where(LABELS[:, None] == np.arange(3), 0.9, 0.05)
    found = terms("tfkd", correct=0.9, temperature=5.0)
    np.testing.assert_allclose(found["virtual"], tables.kl(np.log(designed), S, 5.0), rtol=1e-4)
    found = terms("tfkd", correct=0.9, temperature=5.0, as_code=True)
    p = softmax(designed / 5, -1)
    np.testing.assert_allclose(found["virtual"], (p * (np.log(p) - log_softmax(S, -1))).sum(-1), rtol=1e-3)
    for correct, words in ((0.3, "of 3 classes more than their share"), (1, "between 0 and 1")):
        with pytest.raises(ValueError, match=rf"method.correct = {correct}: .*{words}"):
            terms("tfkd", correct=correct)


def test_the_past_is_what_was_predicted_when_an_example_was_last_seen():
    players = {**STUDENT, "memory_past": models.Past(8)}
    method = methods.build("pskd", alpha=optax.linear_schedule(0.5, 0.75, 1), labels=False, of_data={"examples": 8})
    given = {**LABELLED, "index": np.array([7, 1, 2, 0, 3, 4], np.int32)}
    first, metrics, start = tables.stepped(method, players, given)
    np.testing.assert_allclose(metrics["student/past"], tables.ce(S, LABELS).mean(), rtol=1e-5)  # one-hot, so far
    held = first.model_state["memory_past"]["memory"]["probabilities"]
    np.testing.assert_allclose(held[given["index"]], softmax(S, -1), rtol=1e-5)
    assert not held[jnp.array([5, 6])].any()
    later = {**given, "index": np.array([7, 5, 2, 0, 3, 4], np.int32)}  # the second example was not seen
    second, metrics, _ = tables.stepped(method, players, later, start=first)
    logits, onehot = np.float64(first.params["student"]["logits"]), np.eye(3)[LABELS]
    past = np.where(np.arange(6)[:, None] == 1, onehot, softmax(S, -1))
    wanted = -((0.25 * onehot + 0.75 * past) * log_softmax(logits, -1)).sum(-1)
    np.testing.assert_allclose(metrics["student/past"], wanted.mean(), rtol=1e-5)
    held = second.model_state["memory_past"]["memory"]["probabilities"]
    np.testing.assert_allclose(held[5], softmax(logits, -1)[1], rtol=1e-5)
    np.testing.assert_allclose(held[1], softmax(S, -1)[1], rtol=1e-5)
    assert np.abs(start.params["student"]["logits"] - first.params["student"]["logits"]).max() > 0.01


def test_what_the_past_refuses():
    for alpha in (None, 1.5):
        with pytest.raises(ValueError, match=f"method.alpha = {alpha}: a number in .0, 1. or a schedule"):
            methods.build("pskd", alpha=alpha)
    players = {**STUDENT, "memory_past": models.Past(9)}
    with pytest.raises(ValueError, match=r"players.memory_past.model_args.examples = 9: batches are drawn from 8"):
        terms("pskd", {**LABELLED, "index": np.arange(6, dtype=np.int32)}, players, alpha=0.5, examples=8)


def test_partners_are_the_next_of_their_class():
    place, has_one = partners(jnp.asarray(LABELS))
    assert place.tolist() == [2, 5, 3, 0, 4, 1]
    assert has_one.tolist() == [True, True, True, True, False, True]
    found = terms("cskd", temperature=2.0)["partner"]
    np.testing.assert_allclose(found, tables.kl(S[np.array(place)], S, 2.0), rtol=1e-4, atol=1e-6)
    assert found[4] == 0


def test_a_partner_is_a_fixed_target():
    after, _, before = tables.stepped(methods.build("cskd", temperature=1.0, labels=False), STUDENT, LABELLED)
    moved = before.params["student"]["logits"] - after.params["student"]["logits"]
    place = np.array(partners(jnp.asarray(LABELS))[0])
    np.testing.assert_allclose(moved, (softmax(S, -1) - softmax(S, -1)[place]) / 6, atol=1e-5)
    np.testing.assert_array_equal(moved[4], 0)


BLOCKS = {**STUDENT, "adapter_heads": models.BlockHeads(3)}


def test_heads_on_blocks_by_hand():
    method = methods.build("byot", blocks=("embedding",), temperature=2.0, unlabelled=True)
    found, bound = tables.terms(method, BLOCKS, tables.batch(LABELS[:4], unlabelled=2))
    params = jax.tree.map(np.float64, bound.adapter_heads.params)
    dense = lambda x, name: x @ params[name]["kernel"] + params[name]["bias"]
    embedding = np.maximum(dense(VECTORS, "embedding-bottleneck"), 0)
    logits = dense(embedding, "embedding-head")
    np.testing.assert_allclose(found["ce_blocks"], tables.ce(logits[:4], LABELS[:4]), rtol=1e-4)
    np.testing.assert_allclose(found["kd_blocks"], tables.kl(S, logits, 2.0), rtol=1e-4)
    np.testing.assert_allclose(found["hint_blocks"], ((embedding - VECTORS) ** 2).mean(-1), rtol=1e-4)


def test_the_deepest_outputs_do_not_follow_the_blocks():
    method = methods.build("byot", blocks=("embedding",))
    after, _, before = tables.stepped(method, BLOCKS, LABELLED, ce=0.0, ce_blocks=0.0, hint_blocks=0.0)
    np.testing.assert_array_equal(after.params["student"]["logits"], before.params["student"]["logits"])
    assert small.largest_difference(after.params["adapter_heads"], before.params["adapter_heads"]) > 0
    with pytest.raises(ValueError, match=r"method.blocks = \(\): one module path or more"):
        methods.build("byot", blocks=())


AVERAGED = {"student": small.Plain(), "memory_average": models.MovingParameters(0.6)}


def with_extra(seed):
    return {**small.batch(seed=seed), "unlabelled": {"image": small.batch(seed=50 + seed)["image"]}}


def trained(steps, method, start=None, dtype=None):
    """States before each of these steps, and after the last."""
    step = jax.jit(make_train_step(method, AVERAGED, {n: optax.sgd(1.0) for n in method.trained}, compute_dtype=dtype))
    states = [start or small.make_state(method, AVERAGED, example=with_extra(0))]
    for _ in range(steps):
        states.append(step(states[-1], with_extra(int(states[-1].step)))[0])
    return states


@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
def test_the_average_after_three_steps(dtype):
    states = trained(3, methods.build("mean_teacher", unlabelled=True), dtype=dtype)
    # The first counts 1, the second a half, and then 0.6 of the average stays: a third would be less.
    wanted = jax.tree.map(lambda a, b, c: 0.6 * (a / 2 + b / 2) + 0.4 * c, *(s.params["student"] for s in states[:3]))
    held = states[3].model_state["memory_average"]["memory"]
    assert int(held["count"]) == 3
    assert small.largest_difference(states[2].params["student"], states[0].params["student"]) > 0.01
    for found, one in zip(jax.tree.leaves(held["average"]), jax.tree.leaves(wanted), strict=True):
        assert found.dtype == jnp.float32
        np.testing.assert_allclose(found, one, rtol=1e-5, atol=1e-6)


def test_the_average_goes_on_bitwise():
    method = methods.build("mean_teacher", unlabelled=True)
    through = trained(3, method)
    arrays, record = leaves.snapshot(through[1])  # what a checkpoint holds
    read = leaves.rebuild(arrays, record, through[0], "the run")
    resumed = trained(2, method, start=read)[-1]
    assert small.largest_difference(through[-1].model_state, resumed.model_state) == 0
    assert small.largest_difference(through[-1].params, resumed.params) == 0


@pytest.mark.parametrize("consistency", ["mse", "kl"])
def test_the_student_is_compared_with_its_average_on_unlabelled_images_too(consistency):
    method = methods.build("mean_teacher", unlabelled=True, consistency=consistency)
    state, given = trained(1, method)[-1], with_extra(1)
    found, _ = tables.terms(method, AVERAGED, given, state=state)
    held = state.model_state["memory_average"]["memory"]["average"]
    average = jax.tree.map(lambda old, new: (old + new) / 2, held, state.params["student"])
    image = np.concatenate([given["image"], given["unlabelled"]["image"]])
    s, r = (np.float64(small.Plain().apply({"params": p}, image)) for p in (state.params["student"], average))
    wanted = ((softmax(s, -1) - softmax(r, -1)) ** 2).mean(-1) if consistency == "mse" else tables.kl(r, s)
    np.testing.assert_allclose(found["consistency"], wanted, rtol=1e-3, atol=1e-7)
    assert found["consistency"].shape == (16,)
    after, _, before = tables.stepped(method, AVERAGED, given, start=state, ce=0.0)
    apart = {"mse": smoothing.probability_error, "kl": kl_divergence}[consistency]
    wanted = jax.grad(lambda p: apart(small.Plain().apply({"params": p}, image), jnp.float32(r)).mean())
    moved = jax.tree.map(jnp.subtract, before.params["student"], after.params["student"])
    assert small.largest_difference(moved, wanted(state.params["student"])) < 1e-6


def test_players_of_another_kind_and_what_has_no_term_are_refused_in_one_line():
    with pytest.raises(ValueError, match=r"^players.memory_past.model: Table holds nothing of each training example"):
        terms("pskd", players={**STUDENT, "memory_past": tables.table(S)}, alpha=0.5)
    with pytest.raises(ValueError, match=r"^players.memory_average .Plain. cannot take inputs of shape"):
        terms("mean_teacher", players={**STUDENT, "memory_average": small.Plain()})
    with pytest.raises(ValueError, match=r"^method.name = 'cskd': a batch of 1 example has no partners; 2 or more"):
        terms("cskd", tables.batch([0]))
    with pytest.raises(ValueError, match=r"^method.blocks = .'a', 'a'.: one module path or more, each once"):
        methods.build("byot", blocks=("a", "a"))


def test_another_consistency_is_refused():
    with pytest.raises(ValueError, match=r"method.consistency = 'l1': accepted are mse, kl"):
        methods.build("mean_teacher", consistency="l1")


@pytest.mark.parametrize("names", [("tfkd", "cskd"), ("kd", "mean_teacher")])
def test_they_stand_beside_other_parts(names):
    players = {"student": small.Plain(), "teacher": small.Plain(6), "memory_average": models.MovingParameters()}
    found = tables.terms(methods.build("combine", parts=names), players, small.batch())[0]
    assert set(found) == {"ce"} | {
        {"tfkd": "virtual", "cskd": "partner", "kd": "kd"}.get(n, "consistency") for n in names
    }
