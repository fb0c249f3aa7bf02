"""A student that copies a black box: it knows what the teacher answers, and nothing else of it.

White-box methods (`logits.py`) match logits or take a temperature; a service answers with probabilities, or with a class
alone, perhaps with noise (`kdgan/black_box.py`). No gradient goes through the teacher, which may be any function, cached.
Labels are not used: the images of the batch are the queries, and `data.labelled` says how many there are.
"""

from kdgan import black_box
from kdgan.attacks import UNIT, Pixels
from kdgan.game import Method, Move
from kdgan.losses.logits import cross_entropy
from kdgan.methods.logits import show
from kdgan.methods.taught import check_kind, images


def copy(
    *, answers: str = "probabilities", noise: float = 0.0, seed: int = 0, unlabelled: bool = False,
    label_kind: str = "class", normalisation: Pixels | None = None,
) -> Method:  # fmt: skip
    """Model extraction (Tramèr et al. 2016, Orekondy et al. 2019): −Σ_c a_c log softmax(s)_c of answers a; term `copy`.

    With probabilities and without noise its gradient is that of KL(t ‖ s), the term of `kd` at temperature 1.

    Args:
      answers: what the teacher gives away: "probabilities", or "labels", the class that it takes.
      noise: σ of a defence: answers are those of logits + σ·N(0, 1), the same whenever the same image is asked about.
      seed: of that noise.
      unlabelled: ask about unlabelled images, too.
      label_kind: kind of the label; the data's where a run is asked for. Classes alone are accepted.
      normalisation: {"mean", "std"} of images; the data's where a run is asked for.
    """
    check_kind("copy", label_kind, ("class",))
    try:
        black_box.check(answers, noise)
    except ValueError as error:
        raise ValueError(f"method.{error}") from error

    def student(players, batch, key):
        query = images(batch, unlabelled)
        told = black_box.answer(
            players.teacher(query), query, answers=answers, noise=noise, seed=seed, pixels=normalisation or UNIT
        )
        return {"copy": cross_entropy(players.student(query), told)}

    detail = answers + (f", {show('σ', noise)}" if noise else "")
    return Method(Move("student", student, details={"copy": detail}))
