"""Factor transfer (Kim et al. 2018): a paraphraser of the teacher's features and a translator of the student's."""

from collections.abc import Mapping, Sequence
from functools import partial

from flax import linen as nn
from jax import Array
from jaxtyping import Float

from kdgan.models.adapters import checked_pairs, feature_pairs
from kdgan.models.layers import batch_norm
from kdgan.models.transposed import TransposedConv
from kdgan.resampling import adaptive_average, smaller

SLOPE = 0.1  # of the leaky ReLU
convolution = partial(nn.Conv, kernel_size=(3, 3), padding=((1, 1), (1, 1)))
transposed = partial(TransposedConv, kernel_size=3)


class Stack(nn.Module):
    """Three 3×3 convolutions, or transposed ones, each with a leaky ReLU and with batch norm or none.

    Attributes:
      widths: channels of each.
      back: whether they are transposed.
      normalised: whether there is batch norm.
      axis_name: of the devices that split a batch.
    """

    widths: tuple[int, ...]
    back: bool = False
    normalised: bool = False
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool = False) -> Float[Array, "b h w d"]:
        layer = transposed if self.back else convolution
        for i, width in enumerate(self.widths, start=1):
            x = layer(width, name=f"conv{i}")(x)
            if self.normalised:
                x = batch_norm(train=train, axis_name=self.axis_name, name=f"bn{i}")(x)
            x = nn.leaky_relu(x, SLOPE)
        return x


class Paraphraser(nn.Module):
    """Factors of the teacher's features, with fewer channels, and what is made of them again, which it learns by.

    teacher -> (factors [b, h, w, ⌊rate·c⌋], features [b, h, w, c]), both by the teacher's paths. Its term is the mean
    squared error between the teacher's features and those made again, `losses.features.feature_l2`; then it is frozen.

    Attributes:
      rate: k, above 0: the share of channels that are kept.
      normalised: whether there is batch norm; RepDistiller has none here.
      axis_name: of the devices that split a batch.
    """

    rate: float = 0.5
    normalised: bool = False
    axis_name: str | None = None

    def __post_init__(self):
        if not self.rate > 0:
            raise ValueError(f"Paraphraser.rate = {self.rate}; it accepts numbers above 0")
        super().__post_init__()

    @nn.compact
    def __call__(
        self, teacher: Mapping[str, Array], *, train: bool = False
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Factors, and features made of them.

        Args:
          teacher: features by path, [b, h, w, c].
          train: whether batch norm takes the statistics of the batch.

        Raises:
          ValueError: no features, or some that are no maps or have too few channels for a factor.
        """
        if not teacher:
            raise ValueError("Paraphraser got no features; it accepts at least one")
        factors, again = {}, {}
        for path, x in teacher.items():
            kept = int(x.shape[-1] * self.rate)
            if x.ndim != 4 or kept < 1:
                raise ValueError(
                    f"Paraphraser got {path!r} of shape {x.shape}; it accepts [b, h, w, c] with c·{self.rate} of at"
                    " least 1"
                )
            name, c = path.replace("/", "-"), x.shape[-1]
            stack = partial(Stack, normalised=self.normalised, axis_name=self.axis_name)
            factors[path] = stack((c, kept, kept), name=f"{name}-encoder")(x, train=train)
            again[path] = stack((kept, c, c), back=True, name=f"{name}-decoder")(factors[path], train=train)
        return factors, again


class Translator(nn.Module):
    """The student's features as factors, of the paraphraser's shapes, for `losses.factors.factor_transfer`.

    The paraphraser's factors lend only their shapes. Where the student's sides are larger they are averaged to those of
    the factors first. It is a player of its own, which moves together with the student.

    Attributes:
      pairs: the pairs of module paths (student's, teacher's), as of `Adapter`.
      normalised: whether there is batch norm; RepDistiller has it here.
      axis_name: of the devices that split a batch.
    """

    pairs: Sequence[Sequence[str]] = ()
    normalised: bool = True
    axis_name: str | None = None

    def __post_init__(self):
        object.__setattr__(self, "pairs", checked_pairs(self, self.pairs))
        super().__post_init__()

    @nn.compact
    def __call__(
        self, student: Mapping[str, Array], factors: Mapping[str, Array], *, train: bool = False
    ) -> dict[str, Array]:
        """Factors of the student, by the teacher's paths.

        Args:
          student: features by path, [b, h, w, c].
          factors: the teacher's, by path, [b, h', w', c'].
          train: whether batch norm takes the statistics of the batch.

        Raises:
          ValueError: the pairs cannot be told or name a path that is missing, features are no maps of one batch, or the
            student's sides are smaller.
        """
        translated = {}
        for mine, theirs in feature_pairs(self, self.pairs, student, factors):
            x, target = student[mine], factors[theirs]
            if x.ndim != 4 or target.ndim != 4 or len(x) != len(target) or smaller(x, target) != target.shape[1:3]:
                raise ValueError(
                    f"Translator got the student's {mine!r} of shape {x.shape} for the factors {theirs!r} of shape"
                    f" {target.shape}; it accepts [b, h, w, c] of the same batch and no smaller sides"
                )
            if x.shape[1:3] != target.shape[1:3]:
                x = adaptive_average(x, smaller(x, target))
            widths = (x.shape[-1], target.shape[-1], target.shape[-1])
            stack = Stack(widths, normalised=self.normalised, axis_name=self.axis_name, name=theirs.replace("/", "-"))
            translated[theirs] = stack(x, train=train)
        return translated
