"""Multi-layer perceptrons: the classifier, and the two discriminators that score a pair or an output with one number.

Module paths to ask features for: `hidden1`, `hidden2`, ... (after the activation, [b, width]), `embedding` (what the
head reads, after dropout), `head` (logits or score); `dense1`, ... are the same layers before the activation.
"""

from collections.abc import Callable, Sequence
from functools import partial

import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float, Shaped

from kdgan.models.layers import Tap, check_fields


def _hidden_layers(
    x: Shaped[Array, "b d"],
    widths: Sequence[int],
    activation: Callable[[Array], Array],
    dropout: float,
    train: bool,
) -> Float[Array, "b e"]:
    """Dense, activation, dropout per width; the layers belong to the module whose compact method calls this."""
    for i, width in enumerate(widths, start=1):
        x = Tap(name=f"hidden{i}")(activation(nn.Dense(width, name=f"dense{i}")(x)))
        x = nn.Dropout(dropout, deterministic=not train)(x)
    return Tap(name="embedding")(x)


def _flatten(x: Shaped[Array, "b ..."]) -> Shaped[Array, "b d"]:
    return x.reshape(x.shape[0], -1)


class MLP(nn.Module):
    """Images flattened, then dense layers with relu: [b, ...] -> logits [b, num_classes].

    Several inputs, an image and a vector say, are flattened and joined in their order. The outputs may be numbers, too, of
    which an example then has `num_classes`. KDGAN's MNIST student (Wang et al. 2018) is `MLP((800, 800))`, 1,276,810
    parameters at 28×28×1; the student of the adversarial reference setting `MLP((256, 128))`. `hidden=()` is multinomial
    logistic regression.

    Attributes:
      hidden: width of each hidden layer.
      num_classes: k.
      dropout: rate after each hidden layer while training; draws from the stream `dropout`.
    """

    hidden: Sequence[int] = (64,)
    num_classes: int = 10
    dropout: float = 0.0

    def __post_init__(self):
        check_fields(self, positive=("hidden", "num_classes"), rates=("dropout",))
        super().__post_init__()

    @nn.compact
    def __call__(
        self, x: Shaped[Array, "..."], *more: Shaped[Array, "..."], train: bool = False
    ) -> Float[Array, "b k"]:
        """Logits of one input or several, each [b, ...] (a single number for each example may be [b]).

        Raises:
          ValueError: the only input is a vector, one is empty or of whole numbers, or their batch sizes differ.
        """
        if 0 in x.shape[1:] or x.ndim < (1 if more else 2):
            raise ValueError(
                f"MLP got an input of shape {x.shape}; it accepts [b, h, w, c] or any [b, ...] of rank 2 or more"
            )
        if any(jnp.issubdtype(value.dtype, jnp.signedinteger) for value in (x, *more)):
            raise ValueError(
                "MLP got whole numbers, as tokens are; it accepts floats: take embedding_bag or another model of texts"
            )
        if more:
            shapes = [value.shape for value in (x, *more)]
            if any(shape[:1] != x.shape[:1] or 0 in shape[1:] for shape in shapes):
                raise ValueError(f"MLP got inputs of shapes {shapes}; it accepts [b, ...] each, of one b")
            x = jnp.concatenate([_flatten(value) for value in (x, *more)], axis=-1)
        x = _hidden_layers(_flatten(x), self.hidden, nn.relu, self.dropout, train)
        return nn.Dense(self.num_classes, name="head")(x)


# Radford et al. 2016: discriminators leak, so that the gradient to what they judge does not die.
_leaky_relu = partial(nn.leaky_relu, negative_slope=0.2)


class OutputDiscriminator(nn.Module):
    """Does this output come from the source model or from the student? One logit per example, D = sigmoid(score).

    The outputs may be logits or probabilities, as the method decides. The default, k-128-256-1, is the reference
    setting of the adversarial method.

    Attributes:
      hidden: width of each hidden layer (leaky relu, slope 0.2).
      sees_image: whether the image is read beside the output; where not, an image that is given is ignored, so that a
        method may always pass it and leave the choice to the model.
      dropout: rate after each hidden layer while training; draws from the stream `dropout`.
    """

    hidden: Sequence[int] = (128, 256)
    sees_image: bool = False
    dropout: float = 0.0

    def __post_init__(self):
        check_fields(self, positive=("hidden",), rates=("dropout",))
        super().__post_init__()

    @nn.compact
    def __call__(
        self, outputs: Float[Array, "..."], image: Float[Array, "..."] | None = None, *, train: bool = False
    ) -> Float[Array, " b"]:
        """Scores [b] of outputs [b, k], with the image [b, ...] where the model sees it.

        Raises:
          ValueError: outputs are not [b, k], or the model sees images and got none, or of another batch size.
        """
        if outputs.ndim != 2:
            raise ValueError(f"OutputDiscriminator got outputs of shape {outputs.shape}; it accepts [b, k]")
        x = outputs
        if self.sees_image:
            if image is None or image.ndim < 2 or image.shape[0] != x.shape[0]:
                found = "no image" if image is None else f"an image batch of shape {image.shape}"
                raise ValueError(
                    f"OutputDiscriminator with sees_image=True got {found} beside outputs of shape {outputs.shape};"
                    " it accepts [b, ...] of the same b"
                )
            x = jnp.concatenate([x, _flatten(image)], axis=-1)
        x = _hidden_layers(x, self.hidden, _leaky_relu, self.dropout, train)
        return nn.Dense(1, name="head")(x)[:, 0]


class LabelDiscriminator(nn.Module):
    """Is this a real pair of image and label? One logit per pair, D = sigmoid(score); small, for small images.

    The label is a vector of k probabilities (one-hot, mixed, or a relaxed sample), so that gradients reach whoever
    drew it. KDGAN's own label discriminators score all k labels of an image at once: see `kdgan.models.lenet`.

    Attributes:
      hidden: width of each hidden layer (leaky relu, slope 0.2).
      dropout: rate after each hidden layer while training; draws from the stream `dropout`.
    """

    hidden: Sequence[int] = (128,)
    dropout: float = 0.0

    def __post_init__(self):
        check_fields(self, positive=("hidden",), rates=("dropout",))
        super().__post_init__()

    @nn.compact
    def __call__(
        self, x: Float[Array, "..."], label: Float[Array, "..."], *, train: bool = False
    ) -> Float[Array, " b"]:
        """Scores [b] of images [b, ...] with labels [b, k].

        Raises:
          ValueError: labels are not [b, k] (class indices want `jax.nn.one_hot`), or the batch sizes differ.
        """
        if x.ndim < 2 or label.ndim != 2 or label.shape[0] != x.shape[0]:
            raise ValueError(
                f"LabelDiscriminator got images of shape {x.shape} and labels of shape {label.shape};"
                " it accepts [b, ...] and probabilities or one-hot labels [b, k] of the same b"
            )
        x = jnp.concatenate([_flatten(x), label], axis=-1)
        x = _hidden_layers(x, self.hidden, _leaky_relu, self.dropout, train)
        return nn.Dense(1, name="head")(x)[:, 0]
