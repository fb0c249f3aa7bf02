"""Supervised training of one player: the teacher's own stage, and the baseline of every comparison."""

from kdgan.game import Method, Move
from kdgan.losses.logits import cross_entropy


def supervised(*, player: str = "student", label_smoothing: float = 0.0) -> Method:
    """Training on labels only, CE(y, player(x)): term `ce`, led by `player`."""

    def terms(players, batch, key):
        logits = players[player](batch["image"])
        return {"ce": cross_entropy(logits, batch["label"], label_smoothing=label_smoothing)}

    return Method(Move(player, terms))
