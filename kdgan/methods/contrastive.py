"""A student whose embedding of an example is to find the teacher's among those of others: CRD, and InfoNCE in the batch."""

from typing import Any

import jax
import jax.numpy as jnp

from kdgan import whole_number
from kdgan.game import Terms
from kdgan.losses import contrastive as losses
from kdgan.methods.examples import held_by, pooled
from kdgan.methods.logits import Value, check_temperature, show, value_at
from kdgan.methods.taught import Part, Seen, as_method, single_classes


def negatives_of(key: Any, index: Any, negatives: int, examples: int) -> Any:
    """Numbers of examples to compare with [b, 1 + negatives]: its own first, then others, drawn evenly, with repetition."""
    drawn = jax.random.randint(key, (len(index), negatives), 0, examples - 1, jnp.int32)
    return jnp.concatenate([index[:, None], drawn + (drawn >= index[:, None])], axis=1)


@as_method
def crd(
    *, feature: str = "embedding", teacher_feature: str | None = None, negatives: int = 16384, examples: int | None = None
) -> Part:  # fmt: skip
    """CRD (Tian et al. 2020): embeddings against the other player's bank, noise-contrastive; terms `ce`, `crd`.

    −log P₀/(P₀ + c) − Σ_k log c/(P_k + c), P = exp(⟨u, v⟩/τ)/Z of embeddings u and v of the same example (0) and of
    others (k), the negatives; c is the number of negatives divided by that of all examples. It is added up over two
    sides: the student's u against the teacher's bank of v, and the other way round. Z is a constant that the first
    batch sets: published code has it, the paper's equation not.

    The player `memory_bank` moves with the student: two linear layers, and an embedding of every training example by
    each player, which it finds by `batch["index"]`; τ 0.07, momentum and width are its own. Published: 16,384
    negatives, λ 0.8 beside 1 of `ce` (and, as a variant, 1 of `kd`, in `combine`). Negatives are drawn from all
    examples but the one itself; RepDistiller's "exact" mode, which is its default, leaves out those of its class,
    too.

    With `unlabelled` those examples are compared as well; without it, in a run that has some, their rows keep their
    random start and stand among the negatives. On several devices each draws for its share.

    Args:
      feature: module path of the student's feature; maps are averaged over pixels.
      teacher_feature: of the teacher's; None: the same path.
      negatives: rows that an example is compared with, beside its own.
      examples: that batches are drawn from; the data's where a run is asked for.

    Raises:
      ValueError: no negatives; while shapes are traced, a bank for another number of examples.
    """
    whole_number.check("method.negatives", negatives, unit="rows")
    theirs = teacher_feature or feature

    def terms(seen: Seen) -> Terms:
        bank = seen.players.memory_bank
        index = (seen.batch if len(seen.image) == len(seen.batch["image"]) else seen.batch["all"])["index"]
        held = held_by(bank, examples)
        if held < 2:
            raise ValueError(f"players.memory_bank.model_args.examples = {held}: 2 or more are accepted")
        rows = negatives_of(seen.key, index, negatives, held)
        s, t = pooled(seen.features[feature]), pooled(seen.targets[theirs])
        return {"crd": bank(s, t, index, rows)}

    return Part(
        "crd", terms, features=(feature,), targets=(theirs,), movers=("memory_bank",),
        details={"crd": f"{negatives} negatives"},
    )  # fmt: skip


@as_method
def contrastive(
    *, feature: str = "embedding", teacher_feature: str | None = None, temperature: Value = 0.07, same_class: bool = True
) -> Part:  # fmt: skip
    """InfoNCE (van den Oord et al. 2018) as distillation: −log softmax_j(⟨s_i, t_j⟩/τ)_i; terms `ce`, `contrastive`.

    CRD without a bank: s_i and t_j are here embeddings of examples i and j of the batch, scaled to length 1; the
    student's is to be nearest to the teacher's of the same example. The player `adapter` maps the student's feature
    to the teacher's width and moves with it. On several devices examples are compared with those of each one's share.

    Args:
      feature: module path of the student's feature; maps are averaged over pixels.
      teacher_feature: of the teacher's; None: the same path.
      temperature: τ, a number or a schedule.
      same_class: whether other examples of an example's class stand against it; if not, labels are read, and unlabelled
        examples are left out.
    """
    check_temperature("temperature", temperature)
    theirs = teacher_feature or feature

    def terms(seen: Seen) -> Terms:
        s, t = pooled(seen.features[feature]), pooled(seen.targets[theirs])
        label = None if same_class else single_classes("contrastive", seen.batch)
        mapped = seen.players.adapter({feature: s}, {theirs: t})[theirs]
        if label is not None:
            mapped, t = mapped[: len(label)], t[: len(label)]
        at = value_at(temperature, seen.players.step)
        return {"contrastive": losses.contrastive_in_batch(mapped, t, label, temperature=at)}

    return Part(
        "contrastive", terms, features=(feature,), targets=(theirs,), movers=("adapter",), of_labelled=not same_class,
        details={"contrastive": show("τ", temperature)},
    )  # fmt: skip
