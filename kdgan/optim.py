"""One optax chain per trained player; schedules of learning rates and of λ's from the same few shapes.

Every function takes plain arguments; `run/build.py` calls them with the fields of a config.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

# kind -> (start, end, steps, boundaries, factor) -> schedule over the steps that follow the warm-up
_SHAPES: Mapping[str, Callable[..., optax.Schedule]] = {
    "constant": lambda start, end, steps, boundaries, factor: optax.constant_schedule(start),
    "linear": lambda start, end, steps, boundaries, factor: optax.linear_schedule(start, end, steps),
    "cosine": lambda start, end, steps, boundaries, factor: (
        lambda count: end + (start - end) * 0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(count / steps, 0, 1)))
    ),
    "exponential": lambda start, end, steps, boundaries, factor: (
        lambda count: start * (end / start) ** jnp.clip(count / steps, 0, 1)
    ),
    "steps": lambda start, end, steps, boundaries, factor: optax.piecewise_constant_schedule(
        start, dict.fromkeys(boundaries, factor)
    ),
}


def make_schedule(
    kind: str = "constant",
    *,
    steps: int,
    start: float = 1.0,
    end: float = 0.0,
    warmup: int = 0,
    boundaries: Sequence[float] = (),
    factor: float = 0.1,
) -> optax.Schedule:
    """A value as a function of the step: linear warm-up from 0 to `start`, then the named shape to the last step.

    Args:
      kind: `constant`; `linear` and `cosine` from `start` to `end`; `exponential` from `start` to `end` (geometric,
        both of one sign and not 0); `steps`: times `factor` at each of `boundaries`.
      steps: steps of the whole schedule, the warm-up included.
      start: value after the warm-up.
      end: value at the last step.
      warmup: steps of the warm-up.
      boundaries: of kind `steps`: step numbers, or fractions of `steps` where below 1.
      factor: of kind `steps`.

    Raises:
      ValueError: unknown kind, warm-up that is not within [0, steps), or an exponential through zero.
    """
    if kind not in _SHAPES:
        raise ValueError(f"schedule kind {kind!r}: accepted are {', '.join(_SHAPES)}")
    if not 0 <= warmup < max(steps, 1):
        raise ValueError(f"schedule warmup = {warmup}: must be at least 0 and less than the {steps} steps")
    if kind == "exponential" and start * end <= 0:
        raise ValueError(f"exponential schedule from {start} to {end}: both must be of one sign and not 0")
    marks = [round(b * steps) if 0 < b < 1 else int(b) for b in boundaries]
    if any(mark <= warmup for mark in marks):
        raise ValueError(f"schedule boundaries = {tuple(boundaries)}: each must come after the {warmup} warm-up steps")
    after = max(steps - warmup, 1)
    shape = _SHAPES[kind](start, end, after, [mark - warmup for mark in marks], factor)
    if warmup == 0:
        return shape
    return optax.join_schedules([optax.linear_schedule(0.0, start, warmup), shape], [warmup])


def _l2(rate: float, mask) -> optax.GradientTransformation:
    """L2 regularisation: the decay joins the gradient before the rule (what PyTorch calls weight_decay)."""
    return optax.add_decayed_weights(rate, mask=mask) if rate else optax.identity()


# name -> (fields, learning rate, mask of what decays) -> transformations
_RULES: Mapping[str, Callable[..., tuple[optax.GradientTransformation, ...]]] = {
    "sgd": lambda f, rate, mask: (
        _l2(f["weight_decay"], mask),
        optax.sgd(rate, momentum=f["momentum"] or None, nesterov=f["nesterov"]),
    ),
    "adam": lambda f, rate, mask: (
        _l2(f["weight_decay"], mask),
        optax.adam(rate, b1=f["b1"], b2=f["b2"], eps=f["eps"]),
    ),
    "adamw": lambda f, rate, mask: (
        optax.adamw(rate, b1=f["b1"], b2=f["b2"], eps=f["eps"], weight_decay=f["weight_decay"], mask=mask),
    ),
    # Not optax.rmsprop, which has the learning rate inside the momentum's average: a schedule would act late.
    "rmsprop": lambda f, rate, mask: (
        _l2(f["weight_decay"], mask),
        optax.scale_by_rms(decay=f["decay"], eps=f["eps"], eps_in_sqrt=False),
        optax.trace(f["momentum"]) if f["momentum"] else optax.identity(),
        optax.scale_by_learning_rate(rate),
    ),
    "lion": lambda f, rate, mask: (
        optax.lion(rate, b1=f["b1"], b2=f["b2"], weight_decay=f["weight_decay"], mask=mask),
    ),
}

# field -> the rules that have it; the other fields are of every rule
OF_RULES: Mapping[str, tuple[str, ...]] = {
    "momentum": ("sgd", "rmsprop"),
    "nesterov": ("sgd",),
    "b1": ("adam", "adamw", "lion"),
    "b2": ("adam", "adamw", "lion"),
    "decay": ("rmsprop",),
    "eps": ("adam", "adamw", "rmsprop"),
}

# field -> rule -> its value where the field is None
_OWN_DEFAULTS: Mapping[str, Mapping[str, float]] = {
    "momentum": {"sgd": 0.9, "rmsprop": 0.0},
    "b2": {"adam": 0.999, "adamw": 0.999, "lion": 0.99},
}


def weights_only(params) -> Any:
    """Mask for weight decay: kernels and embeddings yes, biases and the scales of norms (one axis or none) no."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)


def make_optimizer(
    name: str = "adam",
    *,
    learning_rate: float | optax.Schedule = 1e-3,
    momentum: float | None = None,
    nesterov: bool = False,
    b1: float = 0.9,
    b2: float | None = None,
    decay: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decay_all: bool = False,
    clip_norm: float | None = None,
    accumulate: int = 1,
) -> optax.GradientTransformation:
    """The chain of one player: clip the gradient's global norm, decay, rule; applied every `accumulate` moves.

    The rules are PyTorch's `SGD`, `Adam`, `AdamW` and `RMSprop` (g the gradient, w the weight, η the learning rate), and
    lion is that of Chen et al. 2023; with equal fields they make equal updates to rounding:

    | rule | update |
    |---|---|
    | sgd | m ← momentum·m + g; −η·m, with `nesterov` −η·(g + momentum·m); the first m is g, without dampening |
    | adam, adamw | −η·m̂ / (√v̂ + eps), m̂ and v̂ the bias-corrected averages by b1 of g and by b2 of g² |
    | rmsprop | v ← decay·v + (1 − decay)·g²; m ← momentum·m + g / (√v + eps); −η·m; from v = 0, not centred |
    | lion | −η·sign(b1·m + (1 − b1)·g), then m ← b2·m + (1 − b2)·g |

    What differs from PyTorch: weight decay spares biases and the scales of norms (unless `decay_all`), and is 0 by default
    where its AdamW has 0.01; `clip_norm` clips to exactly that norm, where `clip_grad_norm_` divides by the norm + 1e-6;
    `accumulate` takes the mean of the gradients and clips that, where repeated `backward()` sums them. TensorFlow's RMSprop
    has eps inside the root and decay 0.9.

    Args:
      name: `sgd`, `adam`, `adamw`, `rmsprop` or `lion`. With adamw and lion weight decay is decoupled, −η·weight_decay·w
        beside the rule's update; with the others it is the L2 term weight_decay·w added to the gradient.
      learning_rate: number or schedule (of the updates this player has made).
      momentum: of sgd and rmsprop; 0 switches it off. None: 0.9 of sgd, 0 of rmsprop.
      nesterov: of sgd.
      b1: of adam, adamw, lion.
      b2: of adam, adamw, lion. None: 0.999 of adam and adamw, 0.99 of lion.
      decay: of rmsprop (PyTorch's alpha).
      eps: of adam, adamw, rmsprop.
      weight_decay: λ of the decay.
      decay_all: biases and norms decay, too.
      clip_norm: global norm of this player's gradient is clipped to it; None does not clip.
      accumulate: gradients of so many moves are averaged into one update.

    Raises:
      ValueError: unknown name, or a value out of its range.
    """
    if name not in _RULES:
        raise ValueError(f"optimizer name {name!r}: accepted are {', '.join(_RULES)}")
    if not callable(learning_rate) and not learning_rate >= 0:
        raise ValueError(f"optimizer learning_rate = {learning_rate}: must not be negative")
    if clip_norm is not None and not clip_norm > 0:
        raise ValueError(f"optimizer clip_norm = {clip_norm}: must be positive, or None for no clipping")
    if accumulate < 1:
        raise ValueError(f"optimizer accumulate = {accumulate}: must be at least 1")
    for field, share in {"momentum": momentum, "b1": b1, "b2": b2, "decay": decay}.items():
        if share is not None and not 0 <= share < 1:
            raise ValueError(f"optimizer {field} = {share}: must be at least 0 and below 1")
    for field, value in {"eps": eps, "weight_decay": weight_decay}.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"optimizer {field} = {value}: must be at least 0, and finite")
    fields = {
        "momentum": momentum, "nesterov": nesterov, "b1": b1, "b2": b2, "decay": decay, "eps": eps,
        "weight_decay": weight_decay,
    }  # fmt: skip
    fields |= {field: rules.get(name) for field, rules in _OWN_DEFAULTS.items() if fields[field] is None}
    clip = () if clip_norm is None else (optax.clip_by_global_norm(clip_norm),)
    chain = optax.chain(*clip, *_RULES[name](fields, learning_rate, None if decay_all else weights_only))
    if accumulate == 1:
        return chain
    return optax.MultiSteps(chain, accumulate).gradient_transformation()
