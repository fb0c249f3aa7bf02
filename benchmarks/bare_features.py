"""Steps of students that learn from features, as one writes them by hand in JAX: networks, memory and loss in one function.

As in `bare.py` nothing of kdgan is imported, and what a step changes is donated; here all that moves does so in one move.
Features are those that Linen captures, of the modules that are named and of no others.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from benchmarks import bare, bare_models
from benchmarks.measure import Contestant
from benchmarks.work import Work

TEMPERATURE, MOMENTUM, EPS = 0.07, 0.5, 1e-7  # of CRD, as published


def run(module: nn.Module, variables: Mapping[str, Any], x: Any, paths: Sequence[str], train: bool = False):
    """(outputs, features by path, batch statistics)."""
    output, changed = module.apply(
        variables, x, train=train, mutable=["intermediates", *(["batch_stats"] if train else [])],
        capture_intermediates=lambda layer, method: layer.name in paths and method == "__call__",
    )  # fmt: skip
    features = {path: changed["intermediates"][path]["__call__"][0] for path in paths}
    return output, features, changed.get("batch_stats")


def unit(x: Any) -> Any:
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def crd(work: Work, modules: Mapping[str, nn.Module]) -> Callable:
    weight, path = work.lambdas["student"], work.hyperparameters["feature"]
    examples, negatives = work.hyperparameters["examples"], work.hyperparameters["negatives"]
    noise = negatives / examples

    def nce(x):
        positive = jnp.log(x[:, 0] / (x[:, 0] + noise + EPS))
        return -(positive + jnp.log(noise / (x[:, 1:] + noise + EPS)).sum(-1))

    def objective(params, variables, batch, drawn):
        s, mine, stats = run(
            modules["student"], {**variables["student"], "params": params["student"]}, batch["image"], [path], True
        )
        _, theirs, _ = run(modules["teacher"], variables["teacher"], batch["image"], [path])
        index, memory = batch["index"], variables["memory_bank"]["memory"]
        rows = jnp.concatenate([index[:, None], drawn + (drawn >= index[:, None])], axis=1)
        layers, embedded, scores = params["memory_bank"], {}, []
        for name, features in (("student", mine), ("teacher", theirs)):
            layer = layers[f"embed_{name}"]
            embedded[name] = unit(features[path].mean((1, 2)) @ layer["kernel"] + layer["bias"][None])
        for name, other in (("student", "teacher"), ("teacher", "student")):
            scores.append(jnp.exp(jnp.einsum("bd,bmd->bm", embedded[name], memory[other][rows]) / TEMPERATURE))
        now = jnp.log(jnp.stack([score.mean() for score in scores]) * examples)
        log_z = jax.lax.stop_gradient(jnp.where(memory["begun"] > 0, memory["log_z"], now))
        loss = sum(nce(score / jnp.exp(constant)) for score, constant in zip(scores, log_z, strict=True))
        banks = {
            name: memory[name]
            .at[index]
            .set(jax.lax.stop_gradient(unit(MOMENTUM * memory[name][index] + (1 - MOMENTUM) * new)))
            for name, new in embedded.items()
        }
        ce = optax.softmax_cross_entropy_with_integer_labels(s, batch["label"])
        changed = {"student": {"batch_stats": stats}}
        changed["memory_bank"] = {"memory": {**banks, "log_z": log_z, "begun": jnp.ones_like(memory["begun"])}}
        return weight["ce"] * ce.mean() + weight["crd"] * loss.mean(), changed

    return objective


def fsp(work: Work, modules: Mapping[str, nn.Module]) -> Callable:
    weight, paths = work.lambdas["student"], work.hyperparameters["features"]

    def matrices(features):
        for one, other in itertools.pairwise(features[path] for path in paths):
            stride = one.shape[1] // other.shape[1]
            pooled = nn.avg_pool(one, (stride, stride), (stride, stride)) if stride > 1 else one
            yield jnp.einsum("bhwc,bhwd->bcd", pooled, other) / (other.shape[1] * other.shape[2])

    def objective(params, variables, batch):
        own = {**variables["student"], "params": params["student"]}
        s, mine, stats = run(modules["student"], own, batch["image"], paths, True)
        _, theirs, _ = run(modules["teacher"], variables["teacher"], batch["image"], paths)
        flow = sum(((a - b) ** 2).mean() for a, b in zip(matrices(mine), matrices(theirs), strict=True))
        ce = optax.softmax_cross_entropy_with_integer_labels(s, batch["label"])
        return weight["ce"] * ce.mean() + weight["fsp"] * flow, {"student": {"batch_stats": stats}}

    return objective


OBJECTIVES = {"crd": crd, "fsp": fsp}


def draw(work: Work, key: Any) -> tuple[Any, ...]:
    """CRD's negatives, as numbers among all examples but the one itself."""
    if work.game != "crd":
        return ()
    shape = (work.batch, work.hyperparameters["negatives"])
    return (jax.random.randint(key, shape, 0, work.hyperparameters["examples"] - 1),)


def gradients(
    work: Work, variables: bare.Variables, batch: Any, draws: Any, modules: Mapping[str, nn.Module] | None = None
) -> tuple[dict[str, float], dict[str, Any]]:
    """({"student": loss}, moving player -> gradient) at `variables`."""
    objective = OBJECTIVES[work.game](work, modules or bare_models.modules(work))
    params = {name: variables[name]["params"] for name in work.trained}
    both = jax.jit(jax.value_and_grad(objective, has_aux=True))
    (loss, _), found = both(params, variables, batch, *draws["student"])
    return {"student": float(loss)}, jax.device_get(found)


def make_steps(
    work: Work, variables: bare.Variables, batches: Sequence[Any], modules: Mapping[str, nn.Module] | None = None
) -> Contestant:
    """Steps on batches that lie on the device, over and over; `modules` other than those written by hand."""
    objective, rules = OBJECTIVES[work.game](work, modules or bare_models.modules(work)), bare.optimizers(work)

    def step(moving, frozen, batch):
        key, now = jax.random.split(moving["key"])
        own = moving["variables"]
        params = {name: own[name]["params"] for name in own}
        both = jax.value_and_grad(objective, has_aux=True)
        (loss, changed), gradient = both(params, {**own, **frozen}, batch, *draw(work, now))
        opt_state = {}
        for name, rule in rules.items():
            change, opt_state[name] = rule.update(gradient[name], moving["opt_state"][name])
            changed[name] = {**changed[name], "params": optax.apply_updates(params[name], change)}
        return {"variables": changed, "opt_state": opt_state, "key": key}, {"student": loss}

    moving, frozen = bare.start(work, variables)
    return bare.contestant(jax.jit(step, donate_argnums=0), moving, frozen, batches)
