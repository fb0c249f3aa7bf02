"""A regressor: judged by how far the numbers that it predicts are from the true ones: RMSE, MAE, R²."""

from collections.abc import Mapping
from math import prod
from typing import Any

from kdgan.evaluators.evaluator import Evaluator, Measure
from kdgan.metrics import regression


def regressor(*, unit: str = "", centre: float = 0.0) -> Evaluator:
    """Root mean squared error, mean absolute error, and R², the share of the variance that is explained.

    Args:
      unit: of the numbers, for tables.
      centre: a number near their mean, where that is hundreds of standard deviations from 0 (years): R² keeps its digits.
    """
    error: dict[str, Any] = {"unit": unit, "higher_is_better": False, "bounds": (0.0, None), "digits": (3, 0, 4)}
    note = "R²: 1 less the squared error over that of the mean of the evaluated examples"
    measures = (
        Measure("rmse", "RMSE", **error),
        Measure("r2", "R²", bounds=(None, 1.0), note=note),
        Measure("mae", "MAE", **error),
    )

    def sums(apply, variables, batch, key, others):
        return regression.sums(apply(variables, batch), batch["label"], batch["mask"], centre=centre)

    def summarise(sums):
        return {name: float(value) for name, value in regression.summarise(sums).items()}

    return Evaluator(*measures, sums=sums, summarise=summarise, fits=_fits)


def _fits(output: Any, fields: Mapping[str, Any]) -> str | None:
    label = fields.get("label")
    if label is None or label.kind != "number":
        have = "have no labels" if label is None else f"have a label of kind {label.kind!r}"
        return f"a regressor is measured by numbers, and the data {have}"
    shape, size = tuple(output.shape) if hasattr(output, "shape") else None, prod(label.shape)
    if shape is None or len(shape) != 2 or shape[1] != size:
        return (
            f"its output is {shape if shape is not None else ', '.join(output)}, an example of the data has {size} number"
            f"{'' if size == 1 else 's'}; set its model_args.num_classes to {size}"
        )
    return None
