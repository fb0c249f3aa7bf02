"""Losses: arrays in, one value per example out; the mean over the batch is the caller's.

logits       cross-entropy and KL of classes, of tags and token by token; sigmoid matching, squared error, noisy logits
label_spaces between networks of different classes: over some of them, over more than the teacher has, by its errors
adversarial  the two sides of a GAN game, from the discriminator's scores; `gan_loss` gives both by the game's name
penalties    R1, the gradient penalty of WGAN-GP, and their lazy form
images       between images: mean absolute, mean squared and Charbonnier error; total variation
features     intermediate features of student and teacher: weighted L1 and L2, attention, kernel alignment
flow         how one layer leads to the next, against the teacher's: FSP matrices, singular vectors (KD-SVD)
similarity   what resembles what in a layer, against the teacher's: examples (SP, PKT), channels (NST, ICKD)
boundaries   where the teacher's units begin to act (AB), and its features above a margin (OFD)
factors      factor transfer: between a paraphrase of the teacher's features and a translation of the student's
review       hierarchical context: features compared at several resolutions (ReviewKD)
variational  how likely the teacher's features are under a Gaussian that the student predicts (VID)
log_power    the logarithm of a distance of embeddings standardised over the batch (SRD)
affinity     how positions or channels of a layer relate to one another, against the teacher's (FAKD)
decoupled    soft labels in two terms, of the label's class and of the others (DKD)
standardised logits as z-scores, before any loss of logits
correlation  correlations of outputs over classes and over the batch (DIST, MLKD)
smoothing    no teacher network: a virtual one (Tf-KD), the student's past (PS-KD) or average (Mean Teacher), CS-KD
relations    distances, angles and correlations between the examples of a batch (RKD, CC)
contrastive  embeddings of student and teacher against those of other examples: CRD with a bank, InfoNCE in the batch
reversal     a gradient with its sign turned
style        Gram matrices, and the distance to those of a style image
latents      Gaussian latents and the terms of an ELBO; noise for a smaller latent
weights      distance between the weights of networks of different widths
concrete     labels drawn from the concrete (Gumbel-softmax) distribution, and their score
data_free    what images are made by where there are none: the teacher's answers, its batch statistics, the student's errors

A λ is worth what its term is. Published code often has another constant in the same term: with ours = c · theirs, λ/c here
pulls as their λ does. K is the number of classes, n that of pixels and channels, units or latent variables.

| term | code with another constant | c |
|---|---|---|
| `mimic`, `kd` of `kdgan` with `l2`: ½‖s − t‖² | mean squared error, over classes too (Knowledge-Distillation-Zoo) | K/2 |
| `kd`: T²·KL | KL averaged over classes too (`kl_div` of PyTorch with "mean", Teacher-free KD, ZSKT) | K |
| | without T² (torchdistill's where its `alpha` is None) | T² |
| `logistic`; `ce` of tags | binary cross-entropy averaged over classes (`reduction="mean"`, KDGAN's code) | K |
| `ce`, `kd`, `mimic` of numbers: ½‖·‖² | mean squared error, over the numbers too | K/2 |
| `real`, `fake`, `student`, `teacher` of a discriminator | both sides halved (pix2pix) | 2 |
| the same and `adv`, least_squares | without ½ (RelativisticGAN) | ½ |
| the same, relativistic_average | halved for both players (RelativisticGAN, by its author) | 2 |
| `r1`: ½‖∇D‖² | without ½ (GAN_stability) | ½ |
| `reconstruction`; `kl`, `latent` | averaged over pixels; over latent variables | n |
| `pixel`, `mse`, `match`, `decoder`, `seen` | norms as papers write them: sums over pixels or units | 1/n |
| `target`, `perceptual`, `content`, `tv` | the same | 1/n |
| `pixel`, `target`, `teacher` of restorers with `l1` | pixels in 0..255 (EDSR's code, FAKD) | 1/255 |
| `style`: of Gram matrices over h·w·c, C channels | averaged over entries (fast_neural_style) | C² |
| | ¼ of the squared distance (Gatys et al.'s paper) | 4 |
| `adapted` | FitNets' paper: ½‖·‖² | 2/n |
| `solution_flow` (FSP): a mean over a matrix [c, d] | the paper: a sum | 1/(c·d) |
| `probabilistic_transfer` (PKT): a mean over b² pairs | the paper: a sum, over pairs of two examples | near 1/b² |
| `channel_correlation` (ICKD) | divided by the batch twice (its ImageNet code, torchdistill) | b |
| `activation_boundary` (AB): a sum over units | a sum over the batch, too (AB_distillation) | 1/b |
| | RepDistiller, with weights ¼, ½, 1 of 3 layers | 1000/3 |
| | a mean over units (Knowledge-Distillation-Zoo) | n |
| `margin_distance` (OFD): a sum over units | divided by 1000 (its training script) | 1000 |
| `factor_transfer`: a mean over units | the paper: the L1 norm, a sum | 1/n |
| `variational_information` (VID): a mean over units | the paper: a sum | 1/n |
| `kd` of `lwf`: T²·KL | Li and Hoiem's paper: cross-entropy without T² | T² |
| `wd` | a sum over all parameters | 1/n |
| `inter_class`, `intra_class` of `correlation`: without τ² | DIST's code, which has τ² | 1/τ² |
| `virtual_teacher_kl`: T²·KL | Tf-KD's paper, without T² | T² |
| `virtual_teacher_kl_of_code` | Tf-KD's code, averaged over classes too | K |
| `relational_distance`, `relational_angle`: means | sums over pairs, triples (RKD's paper, not its code) | 1/b², 1/b³ |
| `balance`: Σ p̄ log p̄ in nats | logarithms to base 10 (DAFL's code, whose λ of 5 is 5/2.303 here) | 2.303 |
| `activation`: a mean over n features | a sum over them (DAFL's paper, not its code) | 1/n |
| `adversarial` with `kl`, `kd` of `zskt`: T²·KL | KL averaged over classes too, without T² (ZSKT's code) | K·T² |

Equal to ours are SP, PKT, NST, FSP, KD-SVD (up to signs), VID, RKD and CRD (with its constant Z) of RepDistiller, OFD and
DKD's terms of mdistiller, FT and CC of Knowledge-Distillation-Zoo, ICKD (CIFAR-100), ReviewKD, SRD, PS-KD, CS-KD, bc and cc
of MLKD and z-scores of logits of their authors; `kd` of RepDistiller, mdistiller and Knowledge-Distillation-Zoo, the hint
of RepDistiller (`adapted`), R1 of StyleGAN2 and StudioGAN, WGAN-GP and the vanilla, least-squares, hinge and Wasserstein
games of StudioGAN, the paired relativistic game of RelativisticGAN. mimicry's "minimax" generator is our `nonsaturating`.
"""

import importlib
from types import ModuleType

__all__ = [
    "adversarial",
    "affinity",
    "boundaries",
    "concrete",
    "contrastive",
    "correlation",
    "data_free",
    "decoupled",
    "factors",
    "features",
    "flow",
    "images",
    "label_spaces",
    "latents",
    "log_power",
    "logits",
    "penalties",
    "relations",
    "reversal",
    "review",
    "similarity",
    "smoothing",
    "standardised",
    "style",
    "variational",
    "weights",
]


def __getattr__(name: str) -> ModuleType:
    """`kdgan.losses.logits` without a further import."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")
