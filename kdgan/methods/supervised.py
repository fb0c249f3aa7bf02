"""Supervised training of one player: the teacher's own stage, and the baseline of every comparison."""

from kdgan.game import Method, Move
from kdgan.methods.taught import check_kind, on_label


def supervised(*, player: str = "student", label_smoothing: float = 0.0, label_kind: str = "class") -> Method:
    """Training on labels only, CE(y, s): term `ce`, of `player` (the student).

    The baseline of a student, and the stage of a teacher. With `label_smoothing` ε labels are (1 − ε)·onehot(y) + ε/k
    (Szegedy et al. 2016), tags (1 − ε)·y + ε/2.
    """
    check_kind("supervised", label_kind)

    def terms(players, batch, key):
        outputs = players[player](batch["image"])
        return {"ce": on_label(label_kind, outputs, batch, label_smoothing=label_smoothing)}

    return Method(Move(player, terms))
