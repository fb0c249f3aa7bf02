"""What follows from the kind of the label: the loss on it, and how far the outputs of two players are apart.

| `label_kind` | label | outputs | loss on the label (`ce`) | soft labels at temperature T |
|---|---|---|---|---|
| `class` | a class [b], or probabilities [b, k] (mixup) | logits [b, k] | cross-entropy of a softmax | T²·KL of softmaxes |
| `tags` | [b, k], 0 or 1 each | logits [b, k] | Σ over tags of the cross-entropy of a sigmoid | T²·Σ KL of sigmoids |
| `number` | [b] or [b, d] | [b, d] | ½‖s − y‖² | ½‖s − t‖² |
| `tokens` | field `target` [b, t], its mask `target_mask` | logits [b, t, k] | as `class`, mean over tokens | as `class` |

Each loss on a label is −log p(label) in nats; for numbers p is a Gaussian of variance 1, and the constant is left out. Soft
labels are T² times the divergence of the two players' p's, whose outputs are divided by T. For Gaussians T cancels.

A method has an argument `label_kind`, which a run sets to the kind of the data's label where the config does not. Values do
not tell: probabilities of classes look like tags, and whole numbers may be counts.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax.numpy as jnp

from kdgan.losses import logits as losses

KINDS = ("class", "tags", "number", "tokens")
TARGET, TARGET_MASK = "target", "target_mask"


def kind_of(fields: Mapping[str, Any]) -> str:
    """The kind of the label of data with these fields (name -> `kdgan.data.Field`); "class" where there is none."""
    if "label" in fields:
        return fields["label"].kind
    return "tokens" if TARGET in fields and fields[TARGET].kind == "tokens" else "class"


def check_kind(method: str, label_kind: str, accepted: Collection[str] = KINDS, why: str = "") -> None:
    """Raises ValueError for a kind of label that a method does not take."""
    if label_kind not in accepted:
        raise ValueError(
            f"method.label_kind = {label_kind!r}: {method} accepts {', '.join(accepted)}" + (f"; {why}" if why else "")
        )


def on_label(label_kind: str, outputs: Any, batch: Mapping[str, Any], *, label_smoothing: float = 0.0) -> Any:
    """The loss on the batch's labels [b], of outputs on its labelled examples.

    Raises:
      ValueError: the label's shape does not fit the outputs; numbers are to be smoothed; the batch has no tokens to come.
    """
    if label_kind == "tags":
        _check_tags(batch["label"], outputs)
        return losses.sigmoid_cross_entropy(outputs, batch["label"], label_smoothing=label_smoothing)
    if label_kind == "number":
        if label_smoothing:
            raise ValueError(f"method.label_smoothing = {label_smoothing}: a number is not smoothed; 0 is accepted")
        return losses.half_squared_error(outputs, numbers(batch))
    if label_kind == "tokens":
        if TARGET not in batch:
            raise ValueError(f"method.label_kind = 'tokens' needs a field {TARGET!r}, the tokens to come [b, t]")
        mask = batch.get(TARGET_MASK)
        return losses.cross_entropy(outputs, batch[TARGET], label_smoothing=label_smoothing, mask=mask)
    return losses.cross_entropy(outputs, batch["label"], label_smoothing=label_smoothing)


def numbers(batch: Mapping[str, Any]) -> Any:
    """The numbers of a batch as [b, d]."""
    label = jnp.asarray(batch["label"], jnp.float32)
    return label[:, None] if label.ndim == 1 else label


def single_classes(method: str, batch: Mapping[str, Any]) -> Any:
    """The batch's labels [b], of a method that asks for one class of each example.

    Raises:
      ValueError: labels are probabilities.
    """
    label = batch["label"]
    if not jnp.issubdtype(label.dtype, jnp.integer):
        raise ValueError(
            f"method.name = {method!r} asks for one class of each example; mixed labels (mixup, cutmix) are of two"
        )
    return label


def kept(label_kind: str, batch: Mapping[str, Any], unlabelled: bool) -> Any:
    """The tokens on which outputs are matched [b, t]; None: all that there is.

    Raises:
      ValueError: unlabelled examples do not say which of their tokens are padding.
    """
    if label_kind != "tokens" or TARGET_MASK not in batch:
        return None
    part = batch["all"] if unlabelled else batch
    if TARGET_MASK not in part:
        raise ValueError(f"method.unlabelled = True: the unlabelled examples have no field {TARGET_MASK!r} [b, t]")
    return part[TARGET_MASK]


# Soft labels by the kind of the label: (student, teacher, temperature, teacher's temperature, mask) -> [b].
SOFT: Mapping[str, Callable[..., Any]] = {
    "class": losses.kl_divergence,
    "tags": losses.sigmoid_kl,
    "number": lambda s, t, *, temperature, teacher_temperature, mask: losses.half_squared_error(s, t, mask=mask),
    "tokens": losses.kl_divergence,
}


def soft(
    label_kind: str, s: Any, t: Any, *, temperature: Any, teacher_temperature: Any = None, mask: Any = None
) -> Any:
    """How far the student's outputs are from the teacher's as soft labels [b]; neither side's gradient is stopped."""
    return SOFT[label_kind](s, t, temperature=temperature, teacher_temperature=teacher_temperature, mask=mask)


def _check_tags(label: Any, outputs: Any) -> None:
    if label.shape != outputs.shape:
        raise ValueError(
            f"the label has shape {label.shape}, the outputs {outputs.shape}; with method.label_kind = 'tags' both are"
            " [b, k], for classes [b] it is 'class'"
        )
