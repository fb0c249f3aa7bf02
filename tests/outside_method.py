"""A way of teaching from outside of the package, named by dotted paths: a part of a move, with its own loss and adapter."""

import jax.numpy as jnp
from flax import linen as nn

from kdgan.methods.taught import Part, Seen, as_method


class Projection(nn.Module):
    """A player that learns with the student: the mean of its feature over pixels, in the teacher's width."""

    @nn.compact
    def __call__(self, student, teacher):
        return nn.Dense(teacher.shape[-1], name="project")(over_pixels(student))


def over_pixels(feature):
    """[b, ..., c] -> [b, c]."""
    return feature.reshape(len(feature), -1, feature.shape[-1]).mean(1)


def angle(s, t):
    """1 − ⟨s, t⟩/(‖s‖·‖t‖) of vectors [b, d] -> [b]."""
    length = lambda x: jnp.sqrt(jnp.sum(jnp.square(x), axis=-1) + 1e-12)
    return 1 - jnp.sum(s * t, axis=-1) / (length(s) * length(t))


@as_method
def aligned(*, feature: str = "first", teacher_feature: str | None = None, power: float = 1.0) -> Part:
    """The student's feature, projected, points where the teacher's does; term `angle`, to a power."""
    theirs = teacher_feature or feature

    def terms(seen: Seen):
        target = seen.targets[theirs]
        mine = seen.players.adapter_aligned(seen.features[feature], target)
        return {"angle": angle(mine, over_pixels(target)) ** power}

    return Part("aligned", terms, features=(feature,), targets=(theirs,), movers=("adapter_aligned",))
