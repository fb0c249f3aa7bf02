"""The adapter between two networks' features, and how adapters find which feature is mapped to which."""

from collections.abc import Mapping, Sequence

import jax
from flax import linen as nn
from jax import Array


class Adapter(nn.Module):
    """One learned 1×1 convolution per pair of features, from the student's channels to the teacher's.

    GAN Compression's adaptors (Li et al. 2020), and FitNets' regressor (Romero et al. 2015) for more than one layer.
    A student's image [b, h, w, c] is first resized (bilinearly) to the teacher's sides where they differ; [b, d] goes
    through a dense layer. The teacher's features lend only their shapes. It is a player of its own, which moves
    together with the student.

    Attributes:
      pairs: the pairs of module paths (student's, teacher's). Without them the i-th feature of the one is mapped to the
        i-th of the other. Since JAX hands dicts on in sorted order, positions then have to be those of the sorted
        paths.
    """

    pairs: Sequence[Sequence[str]] = ()

    def __post_init__(self):
        # A config's lists would make a module that cannot be hashed.
        object.__setattr__(self, "pairs", checked_pairs(self, self.pairs))
        super().__post_init__()

    @nn.compact
    def __call__(self, student: Mapping[str, Array], teacher: Mapping[str, Array]) -> dict[str, Array]:
        """The student's features in the teacher's shapes, by the teacher's paths.

        Args:
          student: features by path, [b, h, w, c] or [b, d].
          teacher: features by path, [b, h', w', c'] or [b, d'], of the same rank as the student's of their pair.

        Raises:
          ValueError: the pairs cannot be told or name a path that is missing, or ranks or batch sizes differ in a pair.
        """
        adapted = {}
        for mine, theirs in feature_pairs(self, self.pairs, student, teacher):
            x, target = student[mine], teacher[theirs]
            check_ranks(self, mine, x, theirs, target)
            if x.shape[1:-1] != target.shape[1:-1]:
                x = jax.image.resize(x, (*target.shape[:-1], x.shape[-1]), "bilinear")
            # On the last axis a dense layer is the 1×1 convolution. A path's "/" would nest the parameters.
            adapted[theirs] = nn.Dense(target.shape[-1], name=theirs.replace("/", "-"))(x)
        return adapted


def checked_pairs(module: nn.Module, pairs: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    """`pairs` as tuples.

    Raises:
      ValueError: they are no pairs, or name a path of the teacher twice.
    """
    given = tuple(tuple(pair) for pair in pairs)
    teachers = [pair[-1] for pair in given if pair]
    if any(len(pair) != 2 for pair in given) or len(set(teachers)) != len(given):
        raise ValueError(
            f"{type(module).__name__}.pairs = {given}; it accepts pairs (student's path, teacher's path), each path of"
            " the teacher once"
        )
    return given


def check_ranks(module: nn.Module, mine: str, x: Array, theirs: str, target: Array) -> None:
    """Raises ValueError for features of a pair that are no two maps or two vectors of one batch."""
    if x.ndim not in (2, 4) or x.ndim != target.ndim or x.shape[0] != target.shape[0]:
        raise ValueError(
            f"{type(module).__name__} got the student's {mine!r} of shape {x.shape} for the teacher's {theirs!r} of shape"
            f" {target.shape}; it accepts [b, h, w, c] for [b, h', w', c'] or [b, d] for [b, d']"
        )


def feature_pairs(
    module: nn.Module, pairs: Sequence[Sequence[str]], student: Mapping[str, Array], teacher: Mapping[str, Array]
) -> Sequence[Sequence[str]]:
    """(student's path, teacher's path) of the features that `module` was given: `pairs`, or by position.

    Raises:
      ValueError: the pairs cannot be told or name a path that is missing.
    """
    name = type(module).__name__
    given = f"the student's features {', '.join(student) or 'none'} and the teacher's {', '.join(teacher) or 'none'}"
    if pairs:
        missing = [pair for pair in pairs if pair[0] not in student or pair[1] not in teacher]
        if missing:
            raise ValueError(f"{name}.pairs names {missing[0]}, but it got {given}")
        return pairs
    if not student or len(student) != len(teacher):
        raise ValueError(f"{name} got {given}; it accepts one feature of the student for each of the teacher's")
    by_position = list(zip(sorted(student), sorted(teacher), strict=True))
    if set(by_position) != set(zip(student, teacher, strict=True)):
        raise ValueError(
            f"{name} got {given}, whose pairs change when the paths are sorted; it accepts such features with"
            f" {name}.pairs = {list(zip(student, teacher, strict=True))}"
        )
    return by_position
