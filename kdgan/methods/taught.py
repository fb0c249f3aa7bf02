"""What a student is taught by: the loss on a label of each kind, and a move made of parts.

A way of teaching is a function that returns a `Part`. `as_method` makes the method of it that it is alone;
`kdgan.methods.combine` puts several into one move. Teacher and student run once for all parts, and give the features
that any of them wants.

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

import dataclasses
import functools
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from kdgan.game import Batch, Method, Move, Players, Terms, fold_in_name
from kdgan.losses import logits as losses

KINDS = ("class", "tags", "number", "tokens")
TARGET, TARGET_MASK = "target", "target_mask"
NOTHING: Mapping[str, Any] = {}


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


class Seen(NamedTuple):
    """What a part's terms are made of.

    Attributes:
      players: of the move.
      batch: of the step.
      key: from which the part draws.
      image: the inputs that outputs are compared on [n, ...]: the labelled ones first, then the unlabelled where asked for.
      student: the student's outputs [n, ...].
      teacher: the teacher's; None where no part wants it.
      features: of the student, by module path.
      targets: of the teacher, by module path.
      label_kind: kind of the label.
      mask: the tokens that count [n, t]; None: all.
    """

    players: Players
    batch: Batch
    key: Any
    image: Any
    student: Any
    teacher: Any
    features: Mapping[str, Any]
    targets: Mapping[str, Any]
    label_kind: str
    mask: Any


@dataclasses.dataclass(frozen=True)
class Part:
    """One way of teaching.

    Attributes:
      name: of the method that it is alone, for messages.
      terms: what it adds, of what is seen: {term: scalar or [n]}.
      features: module paths of the student.
      targets: module paths of the teacher.
      movers: players that learn with the student, by the same terms.
      calls_teacher: whether the teacher's outputs are wanted, where no feature of it is.
      kinds: kinds of labels that it is for.
      why: what a refused kind is told.
      details: term -> what an explanation prints behind it.
      of_labelled: whether its terms are of the labelled examples alone, as `ce` is.
    """

    name: str
    terms: Callable[[Seen], Terms]
    features: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    movers: tuple[str, ...] = ()
    calls_teacher: bool = True
    kinds: Collection[str] = KINDS
    why: str = ""
    details: Mapping[str, str] = dataclasses.field(default_factory=dict)
    of_labelled: bool = False


def method_of(*parts: Part, labels: bool = True, unlabelled: bool = False, label_kind: str = "class") -> Method:
    """One move of the student, and of the players that learn with it: `ce` on the labels, then the terms of each part.

    Args:
      *parts: at least one.
      labels: whether there is a term `ce`.
      unlabelled: whether outputs are compared on the batch's unlabelled inputs, too; `ce` never sees them.
      label_kind: kind of the label.

    Raises:
      ValueError: a kind of label that a part is not for, a player that two parts move, or unlabelled inputs where no part
        looks at them; while shapes are traced, terms of one name.
    """
    for part in parts:
        check_kind(part.name, label_kind, part.kinds, part.why)
    shared = [
        (a.name, b.name, mover)
        for i, b in enumerate(parts)
        for a in parts[:i]
        for mover in b.movers
        if mover in a.movers
    ]
    if shared:
        one, other, mover = shared[0]
        raise ValueError(f"method.parts: {one} and {other} both move the player {mover!r}; one of them is accepted")
    if unlabelled and all(part.of_labelled for part in parts):
        names = ", ".join(part.name for part in parts)
        raise ValueError(f"method.unlabelled = True: {names} learns from labelled examples alone; leave it out")
    features, targets, movers = (_united(parts, field) for field in ("features", "targets", "movers"))
    calls_teacher = bool(targets) or any(part.calls_teacher for part in parts)

    def student(players, batch, key):
        image = images(batch, unlabelled)
        outputs, of_student = _run(players.student, image, features)
        wanted, of_teacher = _run(players.teacher, image, targets) if calls_teacher else (None, NOTHING)
        mask = kept(label_kind, batch, unlabelled)
        terms = {"ce": on_label(label_kind, outputs[: len(batch["image"])], batch)} if labels else {}
        for part in parts:
            drawn = key if len(parts) == 1 else fold_in_name(key, part.name)
            seen = Seen(players, batch, drawn, image, outputs, wanted, of_student, of_teacher, label_kind, mask)
            added = part.terms(seen)
            if twice := [term for term in added if term in terms]:
                raise ValueError(f"method.parts: {part.name} has the term {twice[0]!r}, which stands there already")
            terms |= added
        return terms

    details = {term: text for part in parts for term, text in part.details.items() if text}
    return Method(Move(("student", *movers), student, details=details))


def as_method(part: Callable[..., Part]) -> Callable[..., Method]:
    """The method that a way of teaching is alone: its own arguments, and those of `method_of`.

    The way of teaching itself stays at hand as the attribute `part`.
    """

    @functools.wraps(part)
    def method(*, labels=True, unlabelled=False, label_kind="class", **arguments):
        return method_of(part(**arguments), labels=labels, unlabelled=unlabelled, label_kind=label_kind)

    common = inspect.signature(method_of).parameters
    added = [common[name] for name in ("labels", "unlabelled", "label_kind")]
    signature = inspect.signature(part)
    method.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), *added], return_annotation=Method
    )
    method.__annotations__ = {**part.__annotations__, **{p.name: p.annotation for p in added}, "return": Method}
    method.part = part  # type: ignore[attr-defined]
    return method


def images(batch: Batch, unlabelled: bool) -> Any:
    """The inputs on which outputs are compared: the labelled ones first, then the unlabelled where asked for."""
    if not unlabelled:
        return batch["image"]
    if "all" not in batch:
        raise ValueError("method.unlabelled = True needs data.unlabelled_batch_size > 0 (the batch has no such images)")
    return batch["all"]["image"]


def _run(player: Any, image: Any, paths: tuple[str, ...]) -> tuple[Any, Mapping[str, Any]]:
    return player(image, features=paths) if paths else (player(image), NOTHING)


def _united(parts: Sequence[Part], field: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for part in parts for name in getattr(part, field)))
