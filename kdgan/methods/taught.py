"""A student's move made of parts: each says what it wants to see, and which terms it adds to the loss on the labels.

A way of teaching is a function that returns a `Part`. `as_method` makes the method of it that it is alone;
`kdgan.methods.combine` puts several into one move. Teacher and student run once for all parts, and give the features
that any of them wants.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from kdgan.game import Batch, Method, Move, Players, Terms, fold_in_name
from kdgan.methods.labels import KINDS, check_kind, kept, on_label

NOTHING: Mapping[str, Any] = {}


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


def taught(*parts: Part, labels: bool = True, unlabelled: bool = False, label_kind: str = "class") -> Method:
    """One move of the student, and of the players that learn with it: `ce` on the labels, then the terms of each part.

    Args:
      *parts: at least one.
      labels: whether there is a term `ce`.
      unlabelled: whether outputs are compared on the batch's unlabelled inputs, too; `ce` never sees them.
      label_kind: kind of the label.

    Raises:
      ValueError: a kind of label that a part is not for, or unlabelled inputs where no part looks at them; while shapes are
        traced, terms of one name.
    """
    for part in parts:
        check_kind(part.name, label_kind, part.kinds, part.why)
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
    """The method that a way of teaching is alone: its own arguments, and those of `taught`.

    The way of teaching itself stays at hand as the attribute `part`.
    """

    @functools.wraps(part)
    def method(*, labels=True, unlabelled=False, label_kind="class", **arguments):
        return taught(part(**arguments), labels=labels, unlabelled=unlabelled, label_kind=label_kind)

    common = inspect.signature(taught).parameters
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
