"""Tables that scikit-learn ships, as "sklearn:wine": nothing is downloaded.

| set | examples | fields |
|---|---|---|
| iris, wine, breast_cancer | 150, 178, 569 | `table` [4], [13], [30]; `label` of 3, 3, 2 classes |
| diabetes | 442 | `table` [10]; `label` a number, the progression of the disease after a year (25 to 346) |

Split "test" is every fifth example in an order drawn once, "train" the others, "all" both; slices count in this order.
Columns of `table` have mean 0 and variance 1 over "train", and the number of diabetes, too: errors are in its standard
deviation.
"""

import dataclasses

import numpy as np

from kdgan.data import slices
from kdgan.data.arrays import from_fields
from kdgan.data.dataset import Dataset
from kdgan.data.errors import ArgumentError

SETS = ("iris", "wine", "breast_cancer", "diabetes")
_SPLITS = ("train", "test", "all")


def read_shipped(name: str, split: str) -> Dataset:
    """One split of the table `name`.

    Raises:
        ValueError: there is no such set, or split.
    """
    if name not in SETS:
        raise ArgumentError(f"{{name}} = 'sklearn:{name}': accepted are {', '.join(f'sklearn:{one}' for one in SETS)}")
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    table, label = np.asarray(bunch.data), np.asarray(bunch.target)
    # Raw words of a bit generator, as in `batches.indices_of_step`: the order is the same under every NumPy.
    order = np.argsort(np.random.Philox(key=0).random_raw(len(table)), kind="stable")
    place = np.arange(len(table))
    rows_of = {"train": order[place % 5 != 0], "test": order[place % 5 == 0], "all": order}
    train = rows_of["train"]
    chosen = []
    for part in slices.parse(split):
        if part.name not in _SPLITS:
            raise ValueError(f"split {part.name!r} of 'sklearn:{name}': splits are {', '.join(_SPLITS)}")
        rows = rows_of[part.name]
        start, stop = slices.bounds(part, len(rows), f"split {split!r} of 'sklearn:{name}'")
        chosen.append(rows[start:stop])
    rows = np.concatenate(chosen)
    numbers = np.issubdtype(label.dtype, np.floating)
    fields = {
        "table": _standardised(table, train)[rows],
        "label": (_standardised(label, train) if numbers else label.astype(np.int64))[rows],
    }
    names = {} if numbers else {"label": [str(called) for called in bunch.target_names]}
    return dataclasses.replace(from_fields(fields, names=names, name=f"sklearn:{name}"), split=split)


def _standardised(values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return (values - values[rows].mean(0)) / values[rows].std(0)
