"""The contract of every method: pure, the same on several devices, gradients exactly where declared, λ's matched.

A method is added to `CASES` (tests/contract_cases.py) with the players that it needs, and is held to all of it: one that can
learn from unlabelled images has some in every batch, and one with a frozen teacher makes the same step of a cached one. A
method from outside, by its dotted path, is one of them. Steps on labelled images alone stand in the tests of each family.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import players as small
from contract_cases import CASES, OUTSIDE
from kdgan import game, members, methods, parallel
from kdgan.step import make_train_step

NO_DATA = ("virtual", "dafl", "dfad", "zskt", "dfq", "deep_inversion", "cmi", "fast")
# Of a batch: on several devices each takes these terms, what it draws or its adapter's batch norm, of its share.
OF_A_SHARE = ("dafl", "dfq", "deep_inversion", "cmi", "fast", "dist", "mlkd", "cskd", "crd", "contrastive")
OF_A_SHARE += ("sp", "pkt", "rkd", "cc", "srd", "ickd", "ab", "ofd", "review")
ON_LABELS = ("discriminator/real", "student/ce_blocks")
READS = ("ofd",)  # parameters of a cached teacher, which the state then holds
# Of a cached teacher they want more than what it gives on the batch: answers to images that are made.
ASKS_FOR_MORE = {
    "vae_distill": "method='decode'",
    "replay": r"players.teacher\(an array \(8, 4, 4, 1\)\): teacher is cached; what is known are its outputs",
}
AFTER_A_STEP = ("mean_teacher",)  # before it the average is the student
INDEXED = ("pskd", "crd")  # they remember something of each training example
OF_LABELLED = ("dkd", "tfkd", "pskd", "cskd", "several")  # parts that see labelled images alone
STARTS = ("robust_ce", "trades", "ard", "rslad")  # their attacks start at random


def test_every_method_is_held_to_the_contract():
    assert CASES.keys() == {*methods.BY_NAME, *OUTSIDE}


def on_unlabelled(name):
    """Whether a method is asked to learn from unlabelled images, too: all that can are."""
    make = {**methods.BY_NAME, **OUTSIDE}[name]
    return name not in OF_LABELLED and "unlabelled" in inspect.signature(make).parameters


def built(name, **hyperparameters):
    asked = {"unlabelled": True} if on_unlabelled(name) else {}
    return methods.build(name, **asked, **CASES[name][0], **hyperparameters)


def example(name, seed=0):
    batch = small.batch(seed=seed)
    if name in NO_DATA:
        batch = {"place": np.arange(8, dtype=np.int32)}
    if name in ("restore", "restore_distill", "style"):
        return small.restoration(seed=seed, others=0 if name == "style" else 8)
    index = np.roll(np.arange(8, dtype=np.int32), seed)
    if name in INDEXED:
        batch["index"] = index
    if on_unlabelled(name):
        batch["unlabelled"] = {"image": small.batch(seed=50 + seed)["image"]}
        batch["unlabelled"] |= {"index": 8 + index} if name in INDEXED else {}
    latent = CASES[name][0].get("latent", 2 if name == "vae_distill" else 16 if name in STARTS else 0)
    if latent:  # carried by the batch: drawn, it would differ from device to device
        batch["noise"] = np.random.default_rng(seed).normal(size=(8, latent)).astype(np.float32)
    return batch


class Case(NamedTuple):
    """A method that made two steps under jit with SGD: states before, between and after, and what each step measured."""

    name: str
    method: game.Method
    modules: dict[str, Any]
    step: Callable
    states: list[Any]
    metrics: list[Any]

    @property
    def teachers(self):
        """The frozen teachers that the method calls, of images: a generator's noise is drawn in each step."""
        frozen = [name for name in self.states[0].params if name not in self.method.trained]
        return [n for n in frozen if n.startswith("teacher") and not isinstance(self.modules[n], small.Paints)]

    @property
    def rounding(self):
        """How far two ways of the first step may be apart: as float32 numbers of order 1, or of the longest way moved."""
        return 2e-6 * max(1, small.largest_difference(self.states[0].params, self.states[1].params))


@pytest.fixture(scope="module", params=list(CASES))
def case(request):
    name, method, modules = request.param, built(request.param), CASES[request.param][1]
    one, traced = make_train_step(method, modules, sgd(method)), []

    def counted(state, batch):
        traced.append(name)
        return one(state, batch)

    step = parallel.jit(counted, donate=False)
    states, metrics = [small.make_state(method, modules, example=example(name))], []
    for i in range(2):
        state, found = step(states[-1], example(name, i))
        states.append(state)
        metrics.append(found)
    assert traced == [name]  # the second step compiles nothing
    return Case(name, method, modules, step, states, metrics)


def sgd(method):
    return {name: optax.sgd(0.1) for name in method.trained}


def test_losses_are_finite_and_every_term_is_reported(case):
    terms = game.inspect_method(case.method, case.modules, example(case.name)).terms
    expected = {f"{p}/{t}" for p, names in terms.items() for t in (*names, "loss")}
    for metrics in case.metrics:
        assert metrics.keys() == expected
        assert all(np.isfinite(value) for value in metrics.values())


def test_unlabelled_images_move_every_term_but_those_on_labels(case):
    """Others in their place: `ce` and the like stay, the terms that see them all do not, and what learns is another."""
    if not on_unlabelled(case.name):
        with pytest.raises(
            ValueError, match=r"method.unlabelled(:.* takes no such| = True: .* labelled examples alone)"
        ):
            methods.build(case.name, **CASES[case.name][0], unlabelled=True)
        return
    others = example(case.name, 2)["unlabelled"]
    state, metrics = case.step(case.states[1], {**example(case.name, 1), "unlabelled": others})
    same = {term for term, value in metrics.items() if value == case.metrics[1][term]}
    assert same == {term for term in metrics if term.endswith("/ce") or term in ON_LABELS}
    assert small.largest_difference(state.params, case.states[2].params) > 0


def known(module, variables, image, paths):
    """Outputs of a frozen network and its features, by Flax alone: what a batch holds of a cached one."""
    outputs, found = module.apply(variables, image, capture_intermediates=True, mutable=["intermediates"])
    return outputs, {path: found["intermediates"][path]["__call__"][0] for path in paths}


def with_cached(case, batch):
    """A batch that holds what the method asks its frozen teachers for, in each part."""
    asked = game.inspect_method(case.method, case.modules, batch).features
    for part in [batch, *([batch["unlabelled"]] if "unlabelled" in batch else [])]:
        own = {}
        for name in case.teachers:
            variables = {"params": case.states[0].params[name], **case.states[0].model_state.get(name, {})}
            own[name] = known(case.modules[name], variables, part["image"], asked.get(name, ()))
        part["cached"] = {name: outputs for name, (outputs, _) in own.items()}
        part["cached_features"] = {name: features for name, (_, features) in own.items() if features}
    return batch


def test_a_cached_teacher_makes_the_same_step(case):
    """Terms and gradients, which under SGD are what parameters move by; the teacher has no parameters if none are read."""
    if not case.teachers or case.name in NO_DATA:  # of what is made nothing is known
        return
    batch = example(case.name)
    apart = () if case.name in READS else case.teachers
    rest, _ = case.states[0].set_apart(apart)
    modules = {name: module for name, module in case.modules.items() if name not in case.teachers}
    step = parallel.jit(make_train_step(case.method, modules, sgd(case.method)), donate=False)
    if case.name in ASKS_FOR_MORE:
        with pytest.raises(ValueError, match=ASKS_FOR_MORE[case.name]):
            step(rest, with_cached(case, batch))
        return
    state, metrics = step(rest, with_cached(case, batch))
    assert metrics.keys() == case.metrics[0].keys()
    for term, value in case.metrics[0].items():
        np.testing.assert_allclose(metrics[term], value, rtol=2e-5, atol=2e-6, err_msg=term)
    moved, _ = case.states[1].set_apart(apart)
    assert (
        small.largest_difference((state.params, state.model_state), (moved.params, moved.model_state)) < case.rounding
    )


def test_a_step_is_pure(case):
    again = parallel.jit(make_train_step(case.method, case.modules, sgd(case.method)), donate=False)
    state, found = again(case.states[1], example(case.name, 1))
    assert small.largest_difference(state.params, case.states[2].params) == 0
    assert {k: float(v) for k, v in found.items()} == {k: float(v) for k, v in case.metrics[1].items()}


def synchronised(modules, axis_name=None):
    """What a run does to modules that remember a batch, where devices split it."""
    remember = lambda module: axis_name and getattr(module, "over_devices", False)
    return {name: m.clone(axis_name=axis_name) if remember(m) else m for name, m in modules.items()}


def over_devices(make, state, name):
    return parallel.pmap(make(axis_name=parallel.BATCH_AXIS), donate=False)(state, example(name, 0))[0]


def in_a_scan(make, state, name):
    batch = jax.tree.map(lambda leaf: leaf[None], example(name, 0))
    return parallel.jit(parallel.many_steps(make()), donate=False)(state, batch)[0]


def of_population(runner):
    def run(make, state, name):
        made = runner(make(), seeds=1, arms=2)
        packed = made.pack([jax.tree.map(jnp.copy, state) for _ in range(2)])
        return made.unpack(made.step(packed, made.pack_batch([example(name, 0)] * 2))[0])[1]

    return run


WAYS = {
    "pmap": over_devices,
    "scan": in_a_scan,
    "vmap": of_population(members.side_by_side),
    "unrolled": of_population(members.unrolled),
}


def test_other_ways_of_running_agree_with_jit(case, request):
    """One of them for each method in turn, or with --all-ways (`make test-all`) every one."""
    name, method, modules, _, states, _ = case
    in_turn = list(WAYS)[list(CASES).index(name) % len(WAYS)]
    make = lambda **kwargs: make_train_step(method, synchronised(modules, **kwargs), sgd(method), **kwargs)
    for way in WAYS if request.config.getoption("--all-ways") else [in_turn]:
        if way == "pmap" and name in OF_A_SHARE:
            continue
        found = WAYS[way](make, states[0], name)
        assert small.largest_difference(found.params, states[1].params) < case.rounding, way


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_a_step_lowers_for_an_accelerator_without_one(case, platform):
    step = make_train_step(case.method, case.modules, sgd(case.method))
    traced = jax.jit(step).trace(case.states[0], example(case.name))
    lowered = traced.lower(lowering_platforms=(platform,))
    assert len(jax.tree.leaves(lowered.out_info)) == len(jax.tree.leaves((case.states[1], case.metrics[0])))


def test_gradients_are_exactly_where_declared(case):
    """Every trained player moves, and no other does: a zero gradient (a copied-in bug of adversarial losses) fails."""
    method, states = case.method, case.states
    for name, params in states[0].params.items():
        before, after = ((state.params[name], state.model_state.get(name, {})) for state in (states[0], states[1]))
        moved = small.largest_difference(params or before, states[1].params[name] or after)
        assert (moved > 0) == (name in method.trained), name


def test_each_term_reaches_its_lead(case):
    """With every other λ at 0, a term alone still moves the player that leads its move, or another of that move."""
    name, method, _, step, states, _ = case
    for lead, terms in states[0].lambdas.items():
        for term in terms:
            if name == "noisy" and term == "mimic" and lead != "student":
                continue
            start = states[1 if name in AFTER_A_STEP else 0]
            off = {p: {t: jnp.float32(p == lead and t == term) for t in ts} for p, ts in start.lambdas.items()}
            state, _ = step(game.dataclasses.replace(start, lambdas=off), example(name, 0))
            movers = {player for move in method.moves if move.lead == lead for player in move.players}
            moved = {p for p in method.trained if small.largest_difference(state.params[p], start.params[p]) > 0}
            assert moved, (lead, term)
            assert moved <= movers


def test_lambdas_must_match(case):
    _, method, modules, _, states, _ = case
    lambdas = {p: dict(terms) for p, terms in states[0].lambdas.items()}
    lead, terms = next(iter(lambdas.items()))
    for wrong in ({**lambdas, lead: {**terms, "nonsense": 1.0}}, {**lambdas, lead: {}}):
        with pytest.raises(ValueError, match=f"lambdas.{lead}"):
            small.make_state(method, modules, lambdas=wrong, example=example(case.name))


def test_a_missing_player_is_named(case):
    name, method, modules, _, states, _ = case
    for role in states[0].params:
        rest = {other: module for other, module in modules.items() if other != role}
        with pytest.raises(game.MissingPlayerError, match=repr(role)):
            game.inspect_method(method, rest, example(name))
