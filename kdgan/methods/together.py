"""Players that learn together: teacher and student in one gradient evaluation, and peers that teach each other."""

from collections.abc import Sequence

import jax

from kdgan.game import Method, Move
from kdgan.methods.logits import Value, check_temperature, show, value_at
from kdgan.methods.taught import check_kind, kept, on_label, soft


def joint(*, temperature: Value = 1.0, teacher_follows: bool = False, label_kind: str = "class") -> Method:
    """CE(t, y) + λ·CE(s, y) + λ'·T²·KL(t ‖ s), teacher and student in one move; terms `teacher_ce`, `ce`, `kd`.

    The teacher learns from labels only, unless `teacher_follows`: then `kd` moves it, too.

    Args:
      temperature: of the distillation term.
      teacher_follows: whether the distillation term moves the teacher, too; else it moves the student only.
      label_kind: kind of the label; the data's where a run is asked for.
    """
    check_kind("joint", label_kind)
    check_temperature("temperature", temperature)

    def both(players, batch, key):
        s, t = players.student(batch["image"]), players.teacher(batch["image"])
        target = t if teacher_follows else jax.lax.stop_gradient(t)
        return {
            "teacher_ce": on_label(label_kind, t, batch),
            "ce": on_label(label_kind, s, batch),
            "kd": soft(
                label_kind, s, target,
                temperature=value_at(temperature, players.step), mask=kept(label_kind, batch, unlabelled=False),
            ),
        }  # fmt: skip

    return Method(Move(("student", "teacher"), both, details={"kd": show("T", temperature)}))


def mutual(
    *, peers: Sequence[str] = ("student", "peer"), temperature: Value = 1.0, label_kind: str = "class"
) -> Method:
    """Deep mutual learning (Zhang et al. 2018) and co-distillation (Anil et al. 2018): peers move one after another.

    Peer i has logits p_i and CE(y, p_i) + λ·mean over the other peers j of T²·KL(p_j ‖ p_i); terms `ce`, `kd`. No
    gradient passes to the others.

    Raises:
      ValueError: fewer than two peers, or one named twice.
    """
    check_kind("mutual", label_kind)
    check_temperature("temperature", temperature)
    peers = tuple(peers)
    if len(peers) < 2 or len(set(peers)) != len(peers):
        raise ValueError(f"method.peers = {peers}: name two players or more, each once")

    def move(me: str) -> Move:
        others = [name for name in peers if name != me]

        def terms(players, batch, key):
            own = players[me](batch["image"])
            t, mask = value_at(temperature, players.step), kept(label_kind, batch, unlabelled=False)
            apart = [soft(label_kind, own, players[name](batch["image"]), temperature=t, mask=mask) for name in others]
            return {"ce": on_label(label_kind, own, batch), "kd": sum(apart) / len(apart)}

        return Move(me, terms, details={"kd": show("T", temperature)})

    return Method(*(move(name) for name in peers))
