"""A student whose examples lie to one another as its teacher's do: distances and angles, correlations, similarities.

Each is a part (`kdgan/methods/taught.py`), takes any kind of label, and `features` and `weights` as `features.py` says.
No adapter is needed, whatever the widths and sides. Terms are statistics of the batch.
"""

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
from jax import Array

from kdgan import whole_number
from kdgan.layer_pairs import matched
from kdgan.losses import relations as losses
from kdgan.losses import similarity
from kdgan.methods.layers import Layers, Paths, Weights, of_layers
from kdgan.methods.logits import show
from kdgan.methods.taught import Part, as_method


@as_method
def rkd(*, features: Paths = (), weights: Weights = None) -> Part:
    """RKD (Park et al. 2019): distances and angles between examples; terms `ce`, `rkd_distance`, `rkd_angle`.

    Σ_l w_l·mean_ij huber(d_ij(S)/d̄(S) − d_ij(T)/d̄(T)): d_ij the distance of the features of examples i and j, d̄
    its mean over pairs, huber(x) = x²/2 up to |x| = 1 and |x| − ½ beyond. `rkd_angle` is the same of the cosines of
    the angles at i between j and k. Statistics of the batch: means over b² pairs and b³ triples, where the paper
    writes sums. RepDistiller and mdistiller have λ 25 and 50, on the embedding. Memory: b³.

    Args:
      features: of any shape [b, ...].
      weights: one a layer.
    """
    terms = {"rkd_distance": _each(losses.relational_distance), "rkd_angle": _each(losses.relational_angle)}
    return of_layers("rkd", features, terms, weights=weights)


@as_method
def cc(*, features: Paths = (), weights: Weights = None, gamma: float = 0.4, order: int = 2) -> Part:
    """CC (Peng et al. 2019): Σ_l w_l·‖C_S − C_T‖²_F / b², C Gaussian kernels of examples; terms `ce`, `cc`.

    C [b, b] is exp(−γ‖x_i − x_j‖²) of the features x of every two examples, scaled to length 1; of its Taylor series
    the powers up to `order` are kept. A statistic of the batch. Knowledge-Distillation-Zoo's λ is 100, on the
    embedding. RepDistiller's term of that name multiplies the errors of neighbours in the batch, which is another
    loss; torchdistill's norm is not squared.

    Args:
      features: of any shape [b, ...].
      weights: one a layer.
      gamma: γ of the kernel exp(−γ‖x_i − x_j‖²), above 0.
      order: P, the last power that is kept.
    """
    if not gamma > 0:
        raise ValueError(f"method.gamma = {gamma!r}: a number above 0 is accepted")
    whole_number.check("method.order", order)
    loss = {"cc": _each(partial(losses.correlation_congruence, gamma=gamma, order=order))}
    return of_layers("cc", features, loss, weights=weights, detail=f"{show('γ', gamma)}, P={order}")


@as_method
def sp(*, features: Paths = (), weights: Weights = None) -> Part:
    """SP (Tung & Mori 2019): Σ_l w_l·‖G̃_S − G̃_T‖²_F / b², how alike examples are; terms `ce`, `sp`.

    G̃ [b, b] are the products of the features of every two examples, each row scaled to length 1: a statistic of the
    batch. λ 3000 on the last maps (RepDistiller, mdistiller); torchdistill scales rows by their L1 norm.
    """
    return of_layers("sp", features, {"sp": similarity.similarity_preserving}, weights=weights)


@as_method
def pkt(*, features: Paths = (), weights: Weights = None) -> Part:
    """PKT (Passalis & Tefas 2018): Σ_l w_l·mean p·log(p/q), of cosines between examples; terms `ce`, `pkt`.

    p_ij is 1 + the cosine of the teacher's features of examples i and j, divided by the sum of that over all j; q_ij
    is the same of the student's. A statistic of the batch. λ 30,000 on the embedding, for this mean over b² pairs
    (RepDistiller, mdistiller); the paper writes a sum over pairs of two examples.
    """
    return of_layers("pkt", features, {"pkt": similarity.probabilistic_transfer}, weights=weights)


def _each(loss: Callable[[Array, Array], Array]) -> Callable[..., Array]:
    """Σ_l w_l·loss(S_l, T_l)."""

    def total(student: Layers, teacher: Layers, weights: Weights) -> Array:
        terms = [weight * loss(s, t) for _, s, t, weight in matched(student, teacher, weights)]
        return jnp.sum(jnp.stack(terms))

    return total
