"""Players of several fields: a method that passes the batch's main input runs as if each player were handed its own fields.

What is expected is computed beside the framework: the same method with closures that call the modules by hand.
"""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from scipy.special import log_softmax, softmax

import players as small
from kdgan import game, members, methods, parallel
from kdgan.game import Method, Move
from kdgan.player import PlayerInputs
from kdgan.step import make_eval_step, make_train_step

INPUTS = {"teacher": ("image", "text")}
MODULES = {"student": small.Plain(), "teacher": small.Reads(7)}


def batch(size=8, seed=0):
    rng = np.random.default_rng(100 + seed)
    return small.batch(size, seed) | {
        "text": rng.normal(size=(size, 5)).astype(np.float32),
        "tokens": rng.integers(0, 9, (size, 6)).astype(np.int32),
    }


def without_images(size=8, seed=0):
    return {name: value for name, value in batch(size, seed).items() if name != "image"}


def state_of(method, modules=MODULES, inputs=INPUTS, example=None, **kwargs):
    return small.make_state(method, modules, example=batch() if example is None else example, inputs=inputs, **kwargs)


def from_readme(name):
    """What README's Python that defines `name` defines by it."""
    text = (pathlib.Path(__file__).parent.parent / "README.md").read_text()
    source = next(block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if f"def {name}(" in block)
    names = {}
    exec(source, names)
    return names[name]


trusting = from_readme("trusting")


def test_the_terms_are_those_of_a_teacher_that_is_handed_both_fields():
    """`kd`, and a method from outside, worked out in NumPy from the teacher's output on image and text."""
    data, kd, own = batch(), methods.build("kd", temperature=4.0), trusting(distrust=0.1)
    state = state_of(kd)
    _, metrics = jax.jit(make_train_step(kd, MODULES, {"student": optax.sgd(0.1)}, inputs=INPUTS))(state, data)
    s = np.asarray(MODULES["student"].apply({"params": state.params["student"]}, data["image"]))
    t = np.asarray(MODULES["teacher"].apply({"params": state.params["teacher"]}, data["image"], data["text"]))
    p, log_p, log_q = softmax(t / 4, -1), log_softmax(t / 4, -1), log_softmax(s / 4, -1)
    np.testing.assert_allclose(metrics["student/kd"], 16 * np.sum(p * (log_p - log_q), -1).mean(), rtol=1e-4)
    np.testing.assert_allclose(
        metrics["student/ce"], -log_softmax(s, -1)[np.arange(8), data["label"]].mean(), rtol=1e-5
    )
    state = state_of(own)
    _, metrics = jax.jit(make_train_step(own, MODULES, {"student": optax.sgd(0.1)}, inputs=INPUTS))(state, data)
    weight = np.where(t.argmax(-1) == data["label"], 1.0, 0.1)
    np.testing.assert_allclose(metrics["student/mimic"], (weight * 0.5 * np.sum((s - t) ** 2, -1)).mean(), rtol=1e-4)


def by_hand(method, inputs):
    """The method whose players, where they are given the images, are called with their fields: by closures alone."""

    class Handing:
        def __init__(self, players, fields):
            self._players, self._fields, self.step = players, fields, players.step

        def __getattr__(self, name):
            return self[name]

        def __getitem__(self, name):
            def call(*args):
                values = []
                for x in args:
                    part = next((part for part in self._fields if x is part["image"]), None)
                    values += [x] if part is None else [part[field] for field in inputs.get(name, ("image",))]
                return self._players[name](*values)

            return call

    def parts(batch):
        if "unlabelled" not in batch:
            return [batch]
        extra = batch["unlabelled"]
        return [batch, extra, {name: jnp.concatenate([batch[name], extra[name]]) for name in extra}]

    def handing(terms):
        def run(players, batch, key):
            several = parts(batch)
            whole = batch if len(several) == 1 else {**batch, "all": several[2]}
            return terms(Handing(players, [whole, *several[1:]]), whole, key)

        return run

    return Method(*(Move(m.players, handing(m.terms), repeats=m.repeats) for m in method.moves))


SCORES = {**MODULES, "discriminator": small.Reads(6)}
PRIVILEGED = INPUTS | {"discriminator": ("tokens", "image")}
CASES = {
    "supervised": ({"player": "teacher"}, {"teacher": small.Reads(7)}, INPUTS),
    "kd": ({"unlabelled": True}, MODULES, INPUTS),
    "logistic": ({}, MODULES, INPUTS),
    "mimic": ({}, MODULES, INPUTS),
    "noisy": ({"sigma": 0.5}, MODULES, INPUTS),
    "joint": ({"teacher_follows": True}, MODULES, INPUTS),
    "mutual": ({"peers": ("student", "teacher")}, MODULES, INPUTS),
    "adversarial": ({}, {**MODULES, "discriminator": small.Judge()}, INPUTS),
    "adversarial, which sees x": (
        {"sees_image": True}, {**MODULES, "discriminator": small.Reads(6, scores=True)},
        INPUTS | {"discriminator": ("text", "image")},
    ),
    "nagan": ({}, {"student": small.Plain(), "discriminator": small.Reads(6)}, {"discriminator": ("tokens", "image")}),
    "kdgan": ({}, SCORES, PRIVILEGED),
}  # fmt: skip


@pytest.mark.parametrize("case", list(CASES))
def test_every_method_of_classifiers_is_the_one_with_fields_handed_over_by_hand(case):
    """The same program to the letter; compiled and run only where both parts of a batch are matched."""
    hyperparameters, modules, inputs = CASES[case]
    method, data = methods.build(case.split(",")[0], **hyperparameters), batch()
    if hyperparameters.get("unlabelled"):
        data["unlabelled"] = {name: value for name, value in batch(4, 1).items() if name != "label"}
    state = state_of(method, modules, inputs, data)
    optimizers = {name: optax.sgd(0.1) for name in method.trained}
    step = jax.jit(make_train_step(method, modules, optimizers, inputs=inputs))
    expected = jax.jit(make_train_step(by_hand(method, inputs), modules, optimizers))
    if "unlabelled" not in data:
        assert step.lower(state, data).as_text() == expected.lower(state, data).as_text()
        return
    (found, metrics), (wanted, measured) = step(state, data), expected(state, data)
    assert small.largest_difference(found.params, wanted.params) == 0
    assert small.largest_difference(metrics, measured) == 0


@pytest.mark.parametrize("way", ["pmap", "scan", "vmap", "unrolled"])
def test_every_way_of_running_gives_the_numbers_of_jit(way):
    method, data = methods.build("kd", unlabelled=True), batch()
    data["unlabelled"] = {name: value for name, value in batch(4, 1).items() if name != "label"}
    state = state_of(method, example=data)
    make = lambda **kwargs: make_train_step(method, MODULES, {"student": optax.sgd(0.1)}, inputs=INPUTS, **kwargs)
    expected, _ = parallel.jit(make(), donate=False)(state, data)
    if way == "pmap":
        found, _ = parallel.pmap(make(axis_name=parallel.BATCH_AXIS), donate=False)(state, data)
    elif way == "scan":
        stacked = jax.tree.map(lambda leaf: leaf[None], data)
        found, _ = parallel.jit(parallel.many_steps(make()), donate=False)(state, stacked)
    else:
        run = {"vmap": members.side_by_side, "unrolled": members.unrolled}[way](make(), seeds=1, arms=2)
        packed, _ = run.step(run.pack([jax.tree.map(jnp.copy, state) for _ in range(2)]), run.pack_batch([data, data]))
        found = run.unpack(packed)[1]
    assert small.largest_difference(found.params, expected.params) < 1e-6


def test_without_a_field_image_the_first_input_is_the_main_one():
    inputs = {"teacher": ("text", "tokens"), "student": ("text",)}
    method, data = methods.build("kd"), without_images()
    state = state_of(method, inputs=inputs, example=data)
    _, metrics = jax.jit(make_train_step(method, MODULES, {"student": optax.sgd(0.1)}, inputs=inputs))(state, data)
    s = np.asarray(MODULES["student"].apply({"params": state.params["student"]}, data["text"]))
    np.testing.assert_allclose(
        metrics["student/ce"], -log_softmax(s, -1)[np.arange(8), data["label"]].mean(), rtol=1e-5
    )
    assert state.params["student"]["hidden"]["kernel"].shape[0] == 5
    assert state.params["teacher"]["hidden"]["kernel"].shape[0] == 5 + 6


@pytest.mark.parametrize(
    ("passed", "given"),
    [
        (("image",), ("image", "text")),
        (("image", "text"), ("image", "text")),  # handed over by name
        (("image", "label"), ("image", "text", "label")),  # further arguments stay behind
        (("label", "image"), ("label", "image", "text")),
        (("text",), ("text",)),  # another field is what it is
        (("image", "text", "label"), ("image", "text", "label")),
        ((), ()),
    ],
)
@pytest.mark.parametrize("part", [None, "unlabelled", "all"])
def test_the_main_input_alone_is_replaced(passed, given, part):
    data = batch() | {"unlabelled": batch(4, 1)}
    inputs = PlayerInputs(data, INPUTS)
    fields = inputs.batch if part is None else inputs.batch[part]
    found, keywords = inputs.given("teacher", tuple(fields[name] for name in passed), {"train": True})
    assert [id(value) for value in found] == [id(fields[name]) for name in given]
    assert keywords == {"train": True}
    unchanged, _ = inputs.given("student", (fields["image"],), {})
    assert unchanged[0] is fields["image"]


def test_all_examples_are_the_labelled_ones_then_the_others():
    data = batch() | {"unlabelled": batch(4, 1)}
    whole = PlayerInputs(data, INPUTS).batch["all"]
    np.testing.assert_array_equal(whole["text"], np.concatenate([batch()["text"], batch(4, 1)["text"]]))
    assert whole.keys() == batch().keys()


def test_a_field_passed_by_its_name_is_no_main_input():
    """Where the first input stands for the images, the field itself is another array: it can be passed alone."""
    inputs = PlayerInputs(without_images(), {"teacher": ("text", "tokens")})
    fields = inputs.batch
    assert fields["image"] is not fields["text"]
    for name, given in {"image": ["text", "tokens"], "text": ["text"]}.items():
        found, _ = inputs.given("teacher", (fields[name],), {})
        assert [id(value) for value in found] == [id(fields[field]) for field in given]
    found, _ = inputs.given("teacher", (fields["image"], fields["tokens"]), {})
    assert len(found) == 2


def test_an_input_of_one_field_may_be_passed_by_keyword():
    inputs = PlayerInputs(batch(), {"teacher": "text", "student": ("image", "text")})
    _, keywords = inputs.given("teacher", (), {"x": inputs.batch["image"]})
    assert keywords["x"] is inputs.batch["text"]
    with pytest.raises(
        ValueError, match=r"players.student\(x=batch\['image'\]\): it is given image, text, which one keyword"
    ):
        inputs.given("student", (), {"x": inputs.batch["image"]})


CHANGED = r"players.teacher is given image, text, and .* of shape \(8, 4, 4, 1\) that is not batch\['image'\] itself"


def refused(terms, match, inputs=INPUTS, modules=MODULES, data=None):
    method = Method(Move("student", lambda players, batch, key: {"t": terms(players, batch).mean()}))
    with pytest.raises(ValueError, match=match) as caught:
        game.inspect_method(method, modules, batch() if data is None else data, inputs=inputs)
    assert "\n" not in str(caught.value)


def test_a_changed_main_input_does_not_stand_for_several_fields():
    refused(
        lambda players, b: players.teacher(b["image"][:, ::-1]), CHANGED + '.*teacher\\(changed, batch\\["text"\\]\\)'
    )
    refused(lambda players, b: players.teacher.stateless(-b["image"]), CHANGED)
    refused(lambda players, b: players.teacher(-b["image"], b["label"]), CHANGED)
    upper = batch() | {"upper": batch()["image"][:, :2]}
    refused(
        lambda players, b: players.student(-b["image"]),
        "players.student is given upper",
        {"student": "upper"},
        data=upper,
    )


@pytest.mark.parametrize(
    ("inputs", "terms"),
    [
        (INPUTS, lambda players, b: players.teacher(-b["image"], b["text"])),
        (INPUTS, lambda players, b: players.teacher(-b["image"], b["text"][::-1])),
        (INPUTS, lambda players, b: players.teacher(b["image"][:4], b["text"][:4])),
        ({"teacher": ("text", "image")}, lambda players, b: players.teacher(b["text"], -b["image"])),
        ({"student": "image", "teacher": "upper"}, lambda players, b: players.student(-b["image"])),
        ({"student": "coarse"}, lambda players, b: players.student(-b["coarse"])),
        (
            INPUTS,
            lambda players, b: jax.vmap(lambda x, t: players.teacher.stateless(x[None], t[None]))(
                b["image"], b["text"]
            ),
        ),
    ],
)
def test_what_a_method_hands_over_itself_is_taken_as_it_is(inputs, terms):
    data = batch() | {"upper": batch()["image"][:, :2], "coarse": batch()["image"]}
    method = Method(
        Move("student", lambda players, b, key: {"t": terms(players, b).mean() + players.student(b["image"]).mean()})
    )
    game.inspect_method(method, MODULES, data, inputs=inputs)


def test_inputs_that_are_not_there_are_named():
    refused(
        lambda players, b: players.teacher(b["image"]),
        r"players.teacher is given image, sound; the batch has no 'sound', but image, label, text, tokens",
        {"teacher": ("image", "sound")},
    )
    refused(
        lambda players, b: players.teacher(b["all"]["image"]),
        "the unlabelled examples have no 'text', but image",
        data=batch() | {"unlabelled": {"image": batch()["image"]}},
    )
    refused(
        lambda players, b: players.student(b["image"]),
        "inputs.techer: there is no such player; .* student, teacher",
        {"techer": "text"},
    )
    refused(lambda players, b: players.student(b["image"]), r"inputs.teacher = \(\): name one field", {"teacher": ()})


def test_gradients_of_an_input_are_taken_through_what_is_passed():
    """R1 on the images of a critic of two fields: the text is handed over beside them."""

    def terms(players, batch, key):
        score = lambda x: players.discriminator.stateless(x, batch["text"]).sum()
        return {
            "r1": 0.5 * jnp.sum(jax.grad(score)(batch["image"]) ** 2, (1, 2, 3)),
            "s": players.discriminator(batch["image"]),
        }

    method, modules = Method(Move("discriminator", terms)), {"discriminator": small.Reads(6, scores=True)}
    inputs = {"discriminator": ("image", "text")}
    state = state_of(method, modules, inputs)
    _, metrics = jax.jit(make_train_step(method, modules, {"discriminator": optax.sgd(0.1)}, inputs=inputs))(
        state, DATA
    )
    params = jax.tree.map(np.asarray, state.params["discriminator"])
    x = np.concatenate([DATA["image"].reshape(8, -1), DATA["text"]], -1)
    hidden = np.tanh(x @ params["hidden"]["kernel"] + params["hidden"]["bias"])
    slope = (1 - hidden**2) * params["head"]["kernel"][:, 0]
    by_image = slope @ params["hidden"]["kernel"][:16].T
    np.testing.assert_allclose(metrics["discriminator/r1"], (0.5 * (by_image**2).sum(-1)).mean(), rtol=1e-4)


DATA = batch()


def test_another_function_of_a_player_is_given_its_fields_too():
    module = small.Coder()
    terms = lambda players, b, key: {
        "t": players.student(b["image"])["mean"].mean() + players.student(b["image"], method="encode").mean()
    }
    data = DATA | {"coarse": np.ones((8, 3), np.float32)}
    state = state_of(Method(Move("student", terms)), {"student": module}, {"student": "coarse"}, data)
    assert state.params["student"]["mean"]["kernel"].shape[0] == 3


def test_cached_outputs_of_a_player_of_several_fields():
    """A step that is given the teacher's outputs is the step that runs it, in each part of the batch."""
    method = methods.build("kd", unlabelled=True)
    data = batch() | {"unlabelled": {name: value for name, value in batch(4, 1).items() if name != "label"}}
    state = state_of(method, example=data)
    apply = lambda part: MODULES["teacher"].apply({"params": state.params["teacher"]}, part["image"], part["text"])
    lean = lambda part: (
        {n: v for n, v in part.items() if n not in ("text", "tokens")} | {"cached": {"teacher": apply(part)}}
    )
    known = lean(data) | {"unlabelled": lean(data["unlabelled"])}  # the teacher's own field need not come along
    expected, _ = jax.jit(make_train_step(method, MODULES, {"student": optax.sgd(0.1)}, inputs=INPUTS))(state, data)
    alone, _ = state.set_apart(["teacher"])
    step = make_train_step(method, {"student": MODULES["student"]}, {"student": optax.sgd(0.1)}, inputs=INPUTS)
    found, _ = jax.jit(step)(alone, known)
    assert small.largest_difference(found.params["student"], expected.params["student"]) < 1e-6


def test_cached_outputs_may_be_asked_for_by_the_names_of_the_fields():
    outputs = np.ones((8, 3), np.float32)
    inputs = PlayerInputs(batch() | {"cached": {"teacher": outputs}}, INPUTS)
    data = inputs.batch
    for args in ((data["image"],), (data["image"], data["text"])):
        assert inputs.known("teacher", args).outputs is outputs
    for args in ((data["text"],), (data["image"], data["tokens"]), (data["image"][:4],), ()):
        assert inputs.known("teacher", args) is None


def test_an_evaluation_step_gives_each_player_its_fields():
    state = state_of(methods.build("kd"))
    variables = {name: {"params": state.params[name]} for name in MODULES}
    step = jax.jit(make_eval_step(MODULES, lambda outputs, batch: outputs, inputs=INPUTS))
    found = step(variables, DATA)
    np.testing.assert_allclose(
        found["teacher"],
        MODULES["teacher"].apply({"params": state.params["teacher"]}, DATA["image"], DATA["text"]),
        rtol=1e-4,
    )
    np.testing.assert_allclose(
        found["student"], MODULES["student"].apply({"params": state.params["student"]}, DATA["image"]), rtol=1e-6
    )


class Embeds(nn.Module):
    """Logits of images and tokens, which index a table: whole numbers, whatever players compute in."""

    @nn.compact
    def __call__(self, image, tokens):
        assert tokens.dtype == jnp.int32
        return nn.Embed(9, 3, name="table", dtype=image.dtype)(tokens).mean(1) + nn.Dense(3)(image.reshape(8, -1))


def test_tokens_stay_whole_numbers_where_players_compute_in_bfloat16():
    modules, inputs, method = MODULES | {"teacher": Embeds()}, {"teacher": ("image", "tokens")}, methods.build("kd")
    state = state_of(method, modules, inputs)
    step = make_train_step(method, modules, {"student": optax.sgd(0.1)}, inputs=inputs, compute_dtype=jnp.bfloat16)
    _, metrics = jax.eval_shape(step, state, DATA)
    assert metrics["student/kd"].dtype == jnp.float32
