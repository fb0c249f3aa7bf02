"""A tagger: judged by how it ranks tags (MAP, P@n, F@n, MRR), and by those that it chooses (micro and macro F1)."""

from collections.abc import Mapping, Sequence
from typing import Any

from kdgan.evaluators.evaluator import Evaluator, Measure
from kdgan.metrics import tags

SHARE: dict[str, Any] = {"unit": "%", "scale": 100.0, "digits": (2, 1, 2), "bounds": (0.0, 1.0)}


def tagger(*, cutoffs: Sequence[int] = tags.CUTOFFS, threshold: float = 0.5) -> Evaluator:
    """MAP, P@n and F@n, MRR as KDGAN reports them (Wang et al. 2018); micro and macro F1.

    Args:
      cutoffs: the n's.
      threshold: probability above which a tag is chosen, for F1.

    Raises:
      ValueError: no cutoff, or one below 1; a threshold outside (0, 1).
    """
    cutoffs = tuple(cutoffs)
    if not cutoffs or any(not isinstance(n, int) or n < 1 for n in cutoffs) or len(set(cutoffs)) < len(cutoffs):
        raise ValueError(f"cutoffs = {cutoffs}: whole numbers of at least 1, each once, are accepted")
    if not 0 < threshold < 1:
        raise ValueError(f"threshold = {threshold}: a probability between 0 and 1 is accepted")
    note = "MAP: mean over test examples of the average precision of their tags, ranked by the player"
    measures = [
        Measure("map", "MAP", note=note, **SHARE),
        *(Measure(f"{letter.lower()}_{n}", f"{letter}@{n}", **SHARE) for letter in "PF" for n in cutoffs),
        Measure("mrr", "MRR", **SHARE),
        Measure("micro_f1", "F1, micro", **SHARE),
        Measure("macro_f1", "F1, macro", **SHARE),
    ]
    names = [measure.name for measure in measures]

    def sums(apply, variables, batch, key, others):
        return tags.sums(apply(variables, batch), batch["label"], batch["mask"], cutoffs=cutoffs, threshold=threshold)

    def summarise(sums):
        result = tags.summarise(sums)
        return {name: float(result[name]) for name in names}

    return Evaluator(*measures, sums=sums, summarise=summarise, fits=_fits, gives="tags")


def _fits(output: Any, fields: Mapping[str, Any]) -> str | None:
    label = fields.get("label")
    if label is None or label.kind != "tags":
        have = "have no labels" if label is None else f"have a label of kind {label.kind!r}"
        return f"a tagger is measured by tags [b, k], and the data {have}"
    shape = tuple(output.shape) if hasattr(output, "shape") else None
    if shape is None or len(shape) != 2 or shape[1] != label.size:
        return (
            f"its output is {shape if shape is not None else ', '.join(output)}, the data have {label.size} tags; set its"
            f" model_args.num_classes to {label.size}"
        )
    return None
