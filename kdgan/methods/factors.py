"""Factor transfer: a stage in which a paraphraser makes factors of the teacher's features, then one of the student.

`paraphrase=dict(method=dict(name="paraphrase", features=("stage3",)), start=dict(teacher="teacher"))`, and after it
`ft=dict(method=dict(name="ft", features=("stage3",)), start=dict(teacher="teacher", paraphraser="paraphrase"))`.
"""

from functools import partial

from jax import Array

from kdgan.game import Method, Move, Players
from kdgan.losses.factors import factor_transfer
from kdgan.losses.features import feature_l2
from kdgan.methods.layers import Layers, Paths, Weights, compared, in_order, layer_pairs, of_layers
from kdgan.methods.taught import Part, as_method, images
from kdgan.resampling import adaptive_average, smaller


def paraphrase(*, features: Paths = (), unlabelled: bool = False) -> Method:
    """FT's first stage (Kim et al. 2018): `paraphraser` makes factors of T_l, T_l again of them; term `reconstruction`.

    Σ_l mean (T_l − T̂_l)², T̂_l what it makes of the factors: an autoencoder. The player `paraphraser` (the model
    `paraphraser`) learns by it on the frozen teacher's features. No labels are read. RepDistiller and
    Knowledge-Distillation-Zoo: λ 1 on the last maps, SGD of rate 0.01 to 0.1, 30 to 100 epochs.

    Args:
      features: paths of the teacher's modules; or those of `ft`, of which it takes the teacher's.
      unlabelled: whether it learns on the batch's unlabelled inputs, too.
    """
    paths = tuple(layer_pairs("paraphrase", features).values())

    def paraphraser(players, batch, key):
        _, teacher = players.teacher(images(batch, unlabelled), features=paths)
        _, again = players.paraphraser(teacher)
        return {"reconstruction": compared("paraphrase", feature_l2, in_order(again, teacher, "paraphraser"), teacher)}

    return Method(Move("paraphraser", paraphraser, details={"reconstruction": ", ".join(paths)}))


@as_method
def ft(*, features: Paths = (), weights: Weights = None, p: int = 1) -> Part:
    """FT's second stage (Kim et al. 2018): Σ_l w_l·‖F̂_S − F̂_T‖_p of factors of length 1; terms `ce`, `ft`.

    F_T are the factors that the frozen player `paraphraser` makes of T, from an earlier stage `paraphrase`; F_S those
    that the player `translator` (the model `translator`), which moves with the student, makes of S. F̂ is F scaled to
    length 1. For p = 1 the norm is a mean over units, where the paper has the sum. Knowledge-Distillation-Zoo's λ is
    200 on the last maps, for p = 1. RepDistiller makes attention maps of the factors first, which is another loss; as
    there, where the teacher's factors have larger sides than the student's maps they are averaged.

    Args:
      features: of maps, those of the stage `paraphrase`.
      weights: one a layer.
      p: 1, the mean over units of a factor; or 2, the norm itself.
    """
    if p not in (1, 2):
        raise ValueError(f"method.p = {p!r}: 1 and 2 are accepted")
    pairs = layer_pairs("ft", features)

    def adapt(players: Players, student: Layers, teacher: Layers) -> tuple[Layers, Layers]:
        factors, _ = players.paraphraser(teacher)
        factors = {theirs: averaged(factors[theirs], student[mine]) for mine, theirs in pairs.items()}
        translated = in_order(players.translator(student, factors), teacher, "translator")
        return translated, in_order(factors, teacher, "paraphraser")

    loss = {"ft": partial(factor_transfer, p=p)}
    return of_layers("ft", features, loss, weights=weights, adapter="translator", adapt=adapt, detail=f"p={p}")


def averaged(factors: Array, student: Array) -> Array:
    """Factors [b, h, w, c], at most as large as the student's maps."""
    if factors.ndim != 4 or student.ndim != 4:
        return factors  # which the translator refuses
    sides = smaller(factors, student)
    return factors if factors.shape[1:3] == sides else adaptive_average(factors, sides)
