"""Models of token sequences: classifiers of texts, and a model of the next token.

Each is a module `(tokens int [b, t], mask=None, train=False)`; the mask [b, t] is False at padding, which changes nothing,
and without one every token counts. A token outside of 0 .. vocabulary − 1 makes NaN of its example: `out_of_range` says
which one it is.

Module paths to ask features for: `tokens` (the embedded tokens, [b, t, width]); `maps` of `text_cnn` (its largest values,
[b, maps]); `block1`, `block2`, ... of the transformers ([b, t, width]); `hidden1`, ... of `embedding_bag` ([b, hidden]);
`embedding` (what the head reads: [b, d], of `causal_transformer` [b, t, width]), `head` (logits).
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax import Array
from jaxtyping import Bool, Float, Shaped

from kdgan.models.layers import Tap, check_fields

Tokens = Shaped[Array, "..."]
Mask = Bool[Array, "..."] | None


def out_of_range(tokens: np.ndarray, vocabulary: int) -> tuple[int, int] | None:
    """(example, token) of the first of tokens [n, t] that an embedding of this size does not have; None: there is none."""
    wrong = (tokens < 0) | (tokens >= vocabulary)
    rows = np.flatnonzero(wrong.any(axis=tuple(range(1, wrong.ndim))))
    return (int(rows[0]), int(tokens[rows[0]][wrong[rows[0]]].flat[0])) if len(rows) else None


def _check_tokens(model: nn.Module, tokens: Array, mask: Array | None) -> Array:
    """The mask of the tokens; Raises ValueError for what are no tokens [b, t], or a mask of another shape."""
    name = type(model).__name__
    if tokens.ndim != 2 or not jnp.issubdtype(tokens.dtype, jnp.integer) or tokens.shape[1] < 1:
        raise ValueError(f"{name} got an input {tokens.dtype}{list(tokens.shape)}; it accepts tokens, integers [b, t]")
    if mask is None:
        return jnp.ones(tokens.shape, bool)
    if mask.shape != tokens.shape:
        raise ValueError(
            f"{name} got a mask of shape {mask.shape} beside tokens of shape {tokens.shape}; it accepts [b, t]"
        )
    return mask


def _mean(x: Float[Array, "b t d"], mask: Bool[Array, "b t"]) -> Float[Array, "b d"]:
    """Over the tokens that the mask keeps; 0 where it keeps none."""
    kept = mask[..., None]
    return jnp.sum(jnp.where(kept, x, 0), axis=1) / jnp.maximum(jnp.sum(kept, axis=1), 1).astype(x.dtype)


def _embedded(tokens: Array, vocabulary: int, width: int) -> Array:
    """Embeddings [b, t, width]; the layer belongs to the module whose compact method calls this."""
    return nn.Embed(vocabulary, width, name="tokens")(tokens)


class EmbeddingBag(nn.Module):
    """The mean of the tokens' embeddings, dense layers if any, and the head (fastText, Joulin et al. 2017).

    [b, t] -> logits [b, num_classes]. The order of the tokens does not count.

    Attributes:
      vocabulary: how many tokens there are.
      width: of the embeddings.
      hidden: width of each dense layer with relu between the mean and the head.
      num_classes: k.
      dropout: rate before the head and after each dense layer while training; draws from the stream `dropout`.
    """

    vocabulary: int = 256
    width: int = 32
    hidden: Sequence[int] = ()
    num_classes: int = 10
    dropout: float = 0.0

    def __post_init__(self):
        check_fields(self, positive=("vocabulary", "width", "hidden", "num_classes"), rates=("dropout",))
        super().__post_init__()

    @nn.compact
    def __call__(self, tokens: Tokens, mask: Mask = None, *, train: bool = False) -> Float[Array, "b k"]:
        mask = _check_tokens(self, tokens, mask)
        x = _mean(_embedded(tokens, self.vocabulary, self.width), mask)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        for i, width in enumerate(self.hidden, start=1):
            x = Tap(name=f"hidden{i}")(nn.relu(nn.Dense(width, name=f"dense{i}")(x)))
            x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.num_classes, name="head")(Tap(name="embedding")(x))


class TextCNN(nn.Module):
    """Windows of the embedded tokens through relu maps, the largest value of each, and the head (Kim 2014).

    [b, t] -> logits [b, num_classes]. A map of a window of w tokens is w embeddings times a matrix, as a convolution along
    the text. Texts are continued by zeros on both sides, so that a short one has windows, too.

    Attributes:
      vocabulary: how many tokens there are.
      width: of the embeddings.
      windows: tokens that a map sees, for each group of maps.
      maps: of each group.
      num_classes: k.
      dropout: rate before the head while training; draws from the stream `dropout`.
    """

    vocabulary: int = 256
    width: int = 32
    windows: Sequence[int] = (3, 4, 5)
    maps: int = 32
    num_classes: int = 10
    dropout: float = 0.0

    def __post_init__(self):
        check_fields(self, positive=("vocabulary", "width", "windows", "maps", "num_classes"), rates=("dropout",))
        super().__post_init__()

    @nn.compact
    def __call__(self, tokens: Tokens, mask: Mask = None, *, train: bool = False) -> Float[Array, "b k"]:
        mask = _check_tokens(self, tokens, mask)
        t = tokens.shape[1]
        x = jnp.where(mask[..., None], _embedded(tokens, self.vocabulary, self.width), 0)
        largest = []
        for i, window in enumerate(self.windows, start=1):
            left = (window - 1) // 2
            padded = jnp.pad(x, ((0, 0), (left, window - 1 - left), (0, 0)))
            seen = jnp.concatenate([padded[:, j : j + t] for j in range(window)], axis=-1)
            maps = nn.relu(nn.Dense(self.maps, name=f"window{i}")(seen))
            # At least 0 after relu, so that 0 at the padding is never larger than what counts.
            largest.append(jnp.max(jnp.where(mask[..., None], maps, 0), axis=1))
        x = Tap(name="maps")(jnp.concatenate(largest, axis=-1))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return nn.Dense(self.num_classes, name="head")(Tap(name="embedding")(x))


class Block(nn.Module):
    """Self-attention and a two-layer network, each added to what it is given, normalised first (Xiong et al. 2020).

    Attributes:
      heads: of the attention; they divide the width.
      hidden: width of the network's inner layer (gelu).
      dropout: rate of the attention and of what is added, while training.
    """

    heads: int
    hidden: int
    dropout: float = 0.0

    @nn.compact
    def __call__(self, x: Float[Array, "b t d"], mask: Bool[Array, "b 1 t t"], *, train: bool) -> Float[Array, "b t d"]:
        """Args: `mask` [b, 1, t, t], whether a token (row) sees another (column)."""
        dropped = lambda y: nn.Dropout(self.dropout, deterministic=not train)(y)
        attention = nn.MultiHeadDotProductAttention(
            self.heads, dropout_rate=self.dropout, deterministic=not train, name="attention"
        )
        x = x + dropped(attention(nn.LayerNorm(name="norm1")(x), mask=mask))
        y = nn.gelu(nn.Dense(self.hidden, name="dense1")(nn.LayerNorm(name="norm2")(x)))
        return x + dropped(nn.Dense(x.shape[-1], name="dense2")(y))


def _positions(t: int, width: int) -> np.ndarray:
    """Sines and cosines [t, width] of each position, as Vaswani et al. 2017: nothing is learned, any length will do."""
    angles = np.arange(t)[:, None] / 10_000 ** (np.arange(0, width, 2) / width)[None, :]
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)[:, :width].astype(np.float32)


def _through_blocks(model: "TextTransformer | CausalTransformer", tokens: Array, sees: Array, train: bool) -> Array:
    """Embedded tokens with their positions through the blocks of the module whose compact method calls this."""
    x = _embedded(tokens, model.vocabulary, model.width) * model.width**0.5
    x = x + jnp.asarray(_positions(tokens.shape[1], model.width), x.dtype)[None]
    x = nn.Dropout(model.dropout, deterministic=not train)(x)
    for i in range(1, model.depth + 1):
        x = Block(model.heads, model.hidden, model.dropout, name=f"block{i}")(x, sees, train=train)
    return nn.LayerNorm(name="norm")(x)


def _check_transformer(model: "TextTransformer | CausalTransformer", *more: str) -> None:
    check_fields(model, positive=("vocabulary", "width", "depth", "heads", "hidden", *more), rates=("dropout",))
    if model.width % model.heads:
        name = type(model).__name__
        raise ValueError(f"{name}.heads = {model.heads}; it accepts divisors of its width, {model.width}")


class TextTransformer(nn.Module):
    """A small transformer encoder: every token sees every other one, the mean over the tokens goes to the head.

    [b, t] -> logits [b, num_classes].

    Attributes:
      vocabulary: how many tokens there are.
      width: of embeddings and blocks.
      depth: number of blocks.
      heads: of the attention; they divide the width.
      hidden: width of the inner layer of each block.
      num_classes: k.
      dropout: rate while training; draws from the stream `dropout`.
    """

    vocabulary: int = 256
    width: int = 64
    depth: int = 2
    heads: int = 4
    hidden: int = 128
    num_classes: int = 10
    dropout: float = 0.0

    def __post_init__(self):
        _check_transformer(self, "num_classes")
        super().__post_init__()

    @nn.compact
    def __call__(self, tokens: Tokens, mask: Mask = None, *, train: bool = False) -> Float[Array, "b k"]:
        mask = _check_tokens(self, tokens, mask)
        sees = jnp.broadcast_to(mask[:, None, None, :], (*mask.shape[:1], 1, mask.shape[1], mask.shape[1]))
        x = _mean(_through_blocks(self, tokens, sees, train), mask)
        return nn.Dense(self.num_classes, name="head")(Tap(name="embedding")(x))


class CausalTransformer(nn.Module):
    """A small language model: of every token the logits of the one that follows, from it and those before it.

    [b, t] -> logits [b, t, vocabulary].

    Attributes:
      vocabulary: how many tokens there are.
      width: of embeddings and blocks.
      depth: number of blocks.
      heads: of the attention; they divide the width.
      hidden: width of the inner layer of each block.
      dropout: rate while training; draws from the stream `dropout`.
    """

    vocabulary: int = 256
    width: int = 64
    depth: int = 2
    heads: int = 4
    hidden: int = 128
    dropout: float = 0.0

    def __post_init__(self):
        _check_transformer(self)
        super().__post_init__()

    @nn.compact
    def __call__(self, tokens: Tokens, mask: Mask = None, *, train: bool = False) -> Float[Array, "b t k"]:
        mask = _check_tokens(self, tokens, mask)
        past = np.tril(np.ones((tokens.shape[1],) * 2, bool))
        sees = mask[:, None, None, :] & jnp.asarray(past)[None, None]
        x = _through_blocks(self, tokens, sees, train)
        return nn.Dense(self.vocabulary, name="head")(Tap(name="embedding")(x))
