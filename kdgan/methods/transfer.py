"""A source and a target task learned at once, the source's examples weighted evenly or by a source model's errors."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from kdgan.game import Method, Move
from kdgan.losses import label_spaces, logits
from kdgan.methods.incremental import check_classes
from kdgan.methods.taught import check_kind

WEIGHTS = ("even", "errors")


def both_tasks(
    *, source: Sequence[Any] = tuple(range(10)), weights: str = "even", floor: float = 0.05, label_kind: str = "class"
) -> Method:
    """Labels of two tasks in one label space; terms `source`, w·CE(y, s) of source examples, and `target`, CE(y, s).

    Each term is 0 for examples of the other task and averaged over the whole batch, so that with λ's of 1 and even weights
    it is training on the union. With weights "errors" an example counts by the error of the source model, the frozen player
    `teacher`, on it: w = (ε + 1 − p(y|x)) over its mean in the batch (`kdgan.losses.label_spaces.error_weights`). These
    are held-out errors where the stage's source examples are not those that the teacher was trained on, which the config
    says: `data.train` of the teacher's stage is another slice. "even", w = 1, is its control on the same examples.

    Args:
      source: classes of the source task; all others are the target's.
      weights: "even" or "errors".
      floor: ε, the least error that an example is given, above 0.
      label_kind: classes alone are accepted.

    Raises:
      ValueError: classes that a player has not, weights or a kind of label that there is not, a floor that is not positive.
    """
    check_kind("both_tasks", label_kind, ("class",))
    check_classes("source", source)
    if weights not in WEIGHTS:
        raise ValueError(f"method.weights = {weights!r}: accepted are {', '.join(WEIGHTS)}")
    if isinstance(floor, bool) or not isinstance(floor, int | float) or not floor > 0:
        raise ValueError(f"method.floor = {floor!r}: a positive number is accepted")
    classes = tuple(source)

    def student(players, batch, key):
        s, label = players.student(batch["image"]), batch["label"]
        if not jnp.issubdtype(label.dtype, jnp.integer):
            raise ValueError(
                "method.name = 'both_tasks' tells tasks apart by classes; mixed labels (mixup, cutmix) are of both"
            )
        is_class = label[:, None] == np.asarray(classes, np.int32)[None, :]
        of_source = jnp.any(is_class, axis=-1)
        ce = logits.cross_entropy(s, label)
        weight = jnp.ones(len(label), ce.dtype)
        if weights == "errors":
            t = players.teacher(batch["image"])
            known, place = label_spaces.columns(t, classes), jnp.argmax(is_class, axis=-1)
            weight = label_spaces.error_weights(known, place, of_source, floor=floor)
        return {"source": jnp.where(of_source, weight * ce, 0), "target": jnp.where(of_source, 0, ce)}

    details = {"source": f"by errors, ε={floor:g}"} if weights == "errors" else {}
    return Method(Move("student", student, details=details))
