"""A student whose layers learn from its teacher's: hints, attention, flows, channels, boundaries, distributions.

Each is a part (`kdgan/methods/taught.py`), alone a method with `ce` on the labels and a term of its own name, and takes
any kind of label. All take:

| argument | what |
|---|---|
| features | paths of modules, in order; where the teacher's differ, pairs of the student's and the teacher's, or a mapping |
| weights | one number a layer, in the same order; None: 1 each |

A mapping is read in the order of the student's paths sorted, as a config hands it on: "stage1" before "stem". An
adapter is a player that moves with the student and has a name of its own, so that several stand in one `combine`; given
(student's features, teacher's), it gives the student's in the teacher's shapes by the teacher's paths. λ's of the
authors stand in `published.py`; the losses, and what other code has in their place, in `kdgan/losses/`.
"""

import functools
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from kdgan import whole_number
from kdgan.game import Players
from kdgan.losses import boundaries, flow, log_power, similarity, variational
from kdgan.losses import features as losses
from kdgan.losses import review as review_losses
from kdgan.methods.generators import paths_of
from kdgan.methods.layers import Layers, Paths, Weights, in_order, of_layers, one_of, through
from kdgan.methods.logits import show
from kdgan.methods.taught import Part, as_method
from kdgan.resampling import POOLINGS

NORMS = {"squared": losses.attention_transfer, "length": losses.attention_distance}


@as_method
def hint(*, features: Paths = (), weights: Weights = None) -> Part:
    """FitNets' hint (Romero et al. 2015): Σ_l w_l·mean (r(S_l) − T_l)², r the player `adapter`; terms `ce`, `hint`.

    `adapter` is the model `adapter` (a 1×1 convolution), or `regressor` with `bias` and `relu`, as in RepDistiller
    and mdistiller, which have λ 100 beside `ce`, on the second stage. The paper writes ½‖·‖², of n units n/2 times as
    much, and trains the layers below the hint by it before all else: a stage of its own with `labels=False`.
    """
    loss = {"hint": losses.feature_l2}
    return of_layers("hint", features, loss, weights=weights, adapter="adapter")


@as_method
def attention(*, features: Paths = (), weights: Weights = None, norm: str = "squared") -> Part:
    """Attention transfer (Zagoruyko & Komodakis 2017): Σ_l w_l·mean (Q_S − Q_T)², Q of length 1; terms `ce`, `attention`.

    Q [h·w] is the mean of squares over channels, scaled to length 1, so that widths may differ; where sides do, the
    larger map is averaged. The paper writes the norm ‖Q_S − Q_T‖, `norm="length"`. Code, its authors' too, has the
    mean of (Q_S − Q_T)² over pixels, with λ 1000 on all three stages.

    Args:
      features: of maps [b, h, w, c].
      weights: one a layer.
      norm: "squared", as published code has it; "length": ‖Q_S − Q_T‖₂, as the paper writes it.
    """
    loss = one_of("norm", norm, NORMS)
    return of_layers("attention", features, {"attention": loss}, weights=weights, detail=norm)


@as_method
def fsp(*, features: Paths = (), weights: Weights = None, pooling: str = "average") -> Part:
    """FSP (Yim et al. 2017): Σ_l w_l·mean (G_l(S) − G_l(T))², G_l products of two layers' channels; terms `ce`, `fsp`.

    Flow of the solution procedure: G_l [c, d] is the mean over pixels of each of a layer's c channels times each of
    the d of the next layer. The student must be as wide as its teacher. As published it starts by this alone
    (`labels=False`), and then, in a stage of its own, learns from labels. The paper sums over the matrix and pools
    the larger of two maps by its maximum; RepDistiller averages both, as this does; torchdistill adds up norms that
    are not squared.

    Args:
      features: two or more, of maps with the teacher's channels.
      weights: one a pair of consecutive layers.
      pooling: of the larger of two maps: "average" (RepDistiller, Knowledge-Distillation-Zoo) or "max" (the paper).
    """
    one_of("pooling", pooling, POOLINGS)
    loss = partial(flow.solution_flow, pooling=pooling)
    return of_layers("fsp", features, {"fsp": loss}, weights=weights, flow=True, detail=pooling)


@as_method
def kdsvd(*, features: Paths = (), weights: Weights = None, k: int = 1) -> Part:
    """KD-SVD (Lee et al. 2018): correlations of two layers' first singular vectors; terms `ce`, `kdsvd`.

    Σ_l w_l·‖R_l(S) − R_l(T)‖²_F, R_l[i, j] = exp(−(v_l[i] − v_{l−1}[j])²/8), v_l [c] the first right singular vector
    of a layer's [h·w, c], v_{l−1} that of the layer before. A sum over channels, of which the student must have as
    many as its teacher. RepDistiller has this without a λ; mdistiller, whose λ is 1, decomposes [c·h, w], which is
    another loss.

    Args:
      features: two or more, of maps with the teacher's channels.
      weights: one a pair of consecutive layers.
      k: singular vectors of a layer.
    """
    whole_number.check("method.k", k, unit="singular vectors")
    loss = partial(flow.singular_flow, k=k)
    return of_layers("kdsvd", features, {"kdsvd": loss}, weights=weights, flow=True, detail=f"k={k}")


@as_method
def nst(*, features: Paths = (), weights: Weights = None) -> Part:
    """NST (Huang & Wang 2017): Σ_l w_l·MMD² of the channels' maps under the kernel (x·y)²; terms `ce`, `nst`.

    MMD², maximum mean discrepancy, is mean K(T, T) + mean K(S, S) − 2·mean K(S, T) over all pairs of channels, with
    the kernel K(x, y) = (x·y)² of two channels' maps, each scaled to length 1. Widths and sides may differ.
    RepDistiller and mdistiller have λ 50 on all three stages; published code agrees.
    """
    return of_layers("nst", features, {"nst": similarity.neuron_selectivity}, weights=weights)


@as_method
def ickd(*, features: Paths = (), weights: Weights = None, adapter: bool = False) -> Part:
    """ICKD (Liu et al. 2021): Σ_l w_l·‖Ĝ_S − Ĝ_T‖²_F / c, how alike channels are; terms `ce`, `ickd`.

    Inter-channel correlation: Ĝ [c, c] are products of every two channels' maps, each row scaled to length 1. This is
    the authors' code for CIFAR-100, with λ 2.5 on the last maps, behind a player `adapter_ickd` (`adapter=True`). The
    paper divides by c² and scales no rows; their code for ImageNet divides by the batch twice.

    Args:
      features: of maps.
      weights: one a layer.
      adapter: whether the player `adapter_ickd` (the model `regressor`) gives the student's maps the teacher's
        channels, as published also where they agree; False: they agree.
    """
    loss = {"ickd": similarity.channel_correlation}
    return of_layers("ickd", features, loss, weights=weights, adapter="adapter_ickd" if adapter else "")


@as_method
def vid(*, features: Paths = (), weights: Weights = None) -> Part:
    """VID (Ahn et al. 2019): Σ_l w_l·½·mean ((T_l − μ_l)²/σ_l² + log σ_l²), a Gaussian of T_l; terms `ce`, `vid`.

    −log of the teacher's features under a Gaussian that the student predicts, less a constant: it may be below 0. The
    player `adapter_vid` (the model `variational`) makes μ of the student's features, has one σ² a channel that it
    learns, and moves with the student. RepDistiller's λ is 1 on all three stages; mdistiller leaves its variances as
    they start. The paper has a sum over units, where this is the mean.
    """

    def adapt(players: Players, student: Layers, teacher: Layers) -> tuple[Layers, Layers, Layers]:
        given = players.adapter_vid(student, teacher)
        if not isinstance(given, tuple) or len(given) != 2:
            raise ValueError(
                f"players.adapter_vid.model gives one {type(given).__name__}; (means, variances) are accepted, as of the"
                " model 'variational'"
            )
        means, variances = (in_order(layers, teacher, "adapter_vid") for layers in given)
        return means, teacher, variances

    loss = {"vid": variational.variational_information}
    return of_layers("vid", features, loss, weights=weights, adapter="adapter_vid", adapt=adapt)


@as_method
def ab(*, features: Paths = (), weights: Weights = None, margin: float = 1.0) -> Part:
    """AB (Heo et al. 2019a): Σ_l w_l·Σ (μ − r(S))₊² where T > 0, (μ + r(S))₊² elsewhere; terms `ce`, `ab`.

    Activation boundaries: before the ReLU each of the student's units is to be on its teacher's side of 0, by a
    margin μ. r is the player `adapter_ab` (the model `regressor`), which moves with the student. As published a
    student starts by it alone (`labels=False`), then learns from labels alone. RepDistiller: λ 3/1000 with weights ¼,
    ½, 1. A sum over units; Knowledge-Distillation-Zoo has their mean.

    Args:
      features: before the ReLU: `stage1/block3/sum` of a resnet.
      weights: one a layer.
      margin: μ, above 0.
    """
    if not margin > 0:
        raise ValueError(f"method.margin = {margin!r}: a number above 0 is accepted")
    loss = {"ab": partial(boundaries.activation_boundary, margin=margin)}
    return of_layers("ab", features, loss, weights=weights, detail=show("μ", margin), adapter="adapter_ab")


@as_method
def ofd(*, features: Paths = (), norms: Sequence[str] = (), weights: Weights = None) -> Part:
    """OFD (Heo et al. 2019b): Σ_l w_l·Σ (r(S) − T̃)², T̃ = max(T, m), but 0 where r(S) ≤ T̃ ≤ 0; terms `ce`, `ofd`.

    Overhaul of feature distillation, before the ReLU: where the teacher is below 0 the student need only be as low as
    T̃. r is the player `adapter_ofd` (the model `regressor`), which moves with the student. m [c], a margin of at
    most 0, is the mean of the negative values of a batch norm's output, N(β, γ²): β and γ are the teacher's
    parameters `bias` and `scale` at `norms`. Where a block adds a shortcut behind its last batch norm, the authors
    take β and γ of that norm all the same.

    Their λ is 1/1000, with weights 2^(l − n) of layers 1 to n. They leave the teacher's batch norm in training mode;
    here it is in evaluation mode. Knowledge-Distillation-Zoo takes the margin from the batch.

    Args:
      features: before the ReLU: `stage1/block3/sum` of a resnet.
      norms: of each of the teacher's layers, in order, the path of its last batch norm before the ReLU:
        `stage1/block3/bn2`.
      weights: one a layer.
    """

    def adapt(players: Players, student: Layers, teacher: Layers) -> tuple[Layers, Layers, Layers]:
        margins = {path: _margins(players.teacher.params, norm) for path, norm in zip(teacher, paths, strict=True)}
        return *through("adapter_ofd")(players, student, teacher), margins

    loss = {"ofd": boundaries.margin_distance}
    part = of_layers("ofd", features, loss, weights=weights, adapter="adapter_ofd", adapt=adapt)
    paths = paths_of("norms", norms)
    if len(paths) != len(part.features):
        raise ValueError(
            f"method.norms = {norms!r}: the path of the teacher's last batch norm before the ReLU of each of"
            f" {len(part.features)} layers, as ('stage1/block3/bn2',), is accepted"
        )
    return part


@as_method
def review(*, features: Paths = (), weights: Weights = None, levels: Sequence[int] = review_losses.LEVELS) -> Part:
    """ReviewKD (Chen et al. 2021): fused features at several resolutions, mean squares; terms `ce`, `review`.

    Σ_l w_l·Σ_i 2^−i·mean (P_i r(S)_l − P_i T_l)² / Σ_i 2^−i: P₀ leaves a map as it is, P_i averages it to
    `levels[i-1]` rows and columns (4, 2, 1). r is the player `adapter_review` (the model `review_fusion`), which
    moves with the student and fuses its layers from the deepest to the first. The paper has no weights 2^−i; this is
    the authors' code. Their λ is 5 for ResNet-8×4 (0.6 to 8 for others), and rises from 0 in the first 20 of 240
    epochs: a schedule.

    Args:
      features: from the first layer to the deepest; the authors take three maps and the embedding.
      weights: one a layer.
      levels: sides to which maps are averaged, the largest first.
    """
    for level in levels:
        whole_number.check("method.levels", level, unit="rows and columns")
    if list(levels) != sorted(set(levels), reverse=True):
        raise ValueError(f"method.levels = {levels!r}: each once, the largest first, is accepted")
    loss = {"review": partial(review_losses.hierarchical_context, levels=tuple(levels))}
    return of_layers("review", features, loss, weights=weights, adapter="adapter_review")


@as_method
def srd(*, features: Paths = (), weights: Weights = None, power: float = 4.0) -> Part:
    """SRD (Miles & Mikolajczyk 2024): Σ_l w_l·log Σ |BN(r(S)) − BN(T)|^α, over batch and channels; terms `ce`, `srd`.

    BN scales each channel to mean 0 and variance 1 over the batch (a statistic of the batch); maps are averaged over
    pixels first; α is 4 (`power`). r is the player `adapter_srd` (the model `adapter`), which moves with the student.
    The authors' code for ImageNet has λ 2, beside λ 1 of `kd` at temperature 1 (in `combine`); that for DeiT is
    another loss.

    Args:
      features: of vectors, or of maps, which are averaged over their places.
      weights: one a layer.
      power: α, above 1.
    """
    if not power > 1:
        raise ValueError(f"method.power = {power!r}: a number above 1 is accepted")
    loss = {"srd": partial(log_power.log_power_distance, power=power)}
    return of_layers("srd", features, loss, weights=weights, detail=show("α", power), adapter="adapter_srd")


def _margins(params: Mapping[str, Any], path: str) -> Any:
    """OFD's margins [c] of the batch norm at a path of the teacher's parameters."""
    step = lambda tree, name: tree.get(name, {}) if isinstance(tree, Mapping) else {}
    norm = functools.reduce(step, path.split("/"), params)
    if not isinstance(norm, Mapping) or not {"scale", "bias"} <= set(norm):
        raise ValueError(
            f"method.norms: the teacher has no parameters 'scale' and 'bias' at {path!r}; the path of its last batch norm"
            " before the ReLU is accepted"
        )
    return boundaries.margins(norm["bias"], norm["scale"])
