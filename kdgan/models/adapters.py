"""The adapter between two networks' features."""

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
        i-th of the other. Since JAX hands dicts on in sorted order, positions then have to be those of the sorted paths.
    """

    pairs: Sequence[Sequence[str]] = ()

    def __post_init__(self):
        # A config's lists would make a module that cannot be hashed.
        object.__setattr__(self, "pairs", tuple(tuple(pair) for pair in self.pairs))
        teachers = [pair[-1] for pair in self.pairs if pair]
        if any(len(pair) != 2 for pair in self.pairs) or len(set(teachers)) != len(self.pairs):
            raise ValueError(
                f"Adapter.pairs = {self.pairs}; it accepts pairs (student's path, teacher's path), each path of the"
                " teacher once"
            )
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
        for mine, theirs in self._pairs(student, teacher):
            x, target = student[mine], teacher[theirs]
            if x.ndim not in (2, 4) or x.ndim != target.ndim or x.shape[0] != target.shape[0]:
                raise ValueError(
                    f"Adapter got the student's {mine!r} of shape {x.shape} for the teacher's {theirs!r} of shape"
                    f" {target.shape}; it accepts [b, h, w, c] for [b, h', w', c'] or [b, d] for [b, d']"
                )
            if x.shape[1:-1] != target.shape[1:-1]:
                x = jax.image.resize(x, (*target.shape[:-1], x.shape[-1]), "bilinear")
            # On the last axis a dense layer is the 1×1 convolution. A path's "/" would nest the parameters.
            adapted[theirs] = nn.Dense(target.shape[-1], name=theirs.replace("/", "-"))(x)
        return adapted

    def _pairs(self, student: Mapping[str, Array], teacher: Mapping[str, Array]) -> Sequence[Sequence[str]]:
        found = (
            f"the student's features {', '.join(student) or 'none'} and the teacher's {', '.join(teacher) or 'none'}"
        )
        if self.pairs:
            missing = [pair for pair in self.pairs if pair[0] not in student or pair[1] not in teacher]
            if missing:
                raise ValueError(f"Adapter.pairs names {missing[0]}, but it got {found}")
            return self.pairs
        if not student or len(student) != len(teacher):
            raise ValueError(f"Adapter got {found}; it accepts one feature of the student for each of the teacher's")
        pairs = list(zip(sorted(student), sorted(teacher), strict=True))
        if set(pairs) != set(zip(student, teacher, strict=True)):
            raise ValueError(
                f"Adapter got {found}, whose pairs change when the paths are sorted; it accepts such features with"
                f" Adapter.pairs = {list(zip(student, teacher, strict=True))}"
            )
        return pairs
