"""The ways to teach a classifier by one teacher, or by none, in one table: equal steps, λ's from the same small search.

python -m kdgan.main --config=configs/zoo.py --workdir=runs/zoo
python -m kdgan.main --config=configs/zoo.py:methods=kd+dkd+hint --workdir=runs/zoo_some
python -m kdgan.main --config=configs/zoo.py:set=mnist --workdir=runs/zoo_mnist

A residual network of 14 layers in three stages teaches one of 8 layers, as wide, so that every method fits. The default
set is the UCI digits (no download), `set=mnist` has 1,000 labels. Each row has its published λ's times a factor, that of
four which was best on the validation split (`:part=search`, then `python -m configs.zoo_rows`; results/zoo_search.json;
where nothing is recorded it is 1). What each is set to, and its players: configs/zoo_rows.py. The equations:
docs/methods.md.

All students have the same parameters at first, the same batches, and make as many steps. Methods with networks of their own
cost more in a step: the table has the operations of training, and its time.
"""

from configs import zoo_rows
from kdgan import config as common

SETS = dict(
    digits=dict(labelled=200, validation=200, width=4, stride=1, steps=400, taught=600),
    mnist=dict(labelled=1_000, validation=1_000, width=8, stride=2, steps=600, taught=1_500),
)
STARTS = dict(teacher="teacher", paraphraser="paraphrase")  # player -> the stage that trained it


def get_config(text=None):
    chosen = common.arguments(text, set=tuple(SETS), part=("table", "search"), methods="all")
    rows = zoo_rows.named(chosen["methods"])
    of_set = SETS[chosen["set"]]
    config = common.get_config()
    config.data.name = chosen["set"]
    config.data.labelled, config.data.validation = of_set["labelled"], of_set["validation"]
    config.data.augment.affine = dict(rotate=10.0, shift=0.1, zoom=0.1)
    width = of_set["width"]
    widths = dict(stem=width, features=(width, 2 * width, 4 * width), stem_stride=of_set["stride"])
    config.players = common.named(
        teacher=dict(model="resnet14", model_args=widths),
        student=dict(model="resnet8", model_args=widths),
        **zoo_rows.beside(rows),
    )
    config.player.optimizer = dict(learning_rate=5e-3, schedule="cosine")
    stages = dict(
        teacher=dict(
            method=dict(name="supervised", player="teacher"), lambdas=dict(teacher=dict(ce=1.0)), steps=of_set["taught"]
        )
    )
    if "ft" in rows:
        stages["paraphrase"] = dict(
            method=dict(name="paraphrase", features=zoo_rows.METHODS["ft"]["features"]),
            lambdas=dict(paraphraser=dict(reconstruction=1.0)), start=dict(teacher="teacher"), steps=of_set["taught"] // 2,
        )  # fmt: skip
    stages["distill"] = dict(
        arms=common.named(**arms(rows, chosen)), steps=of_set["steps"], cached=zoo_rows.cached(rows), views=8
    )
    config.stages = common.named(**stages)
    config.stage.batch_size = 64
    # The table's seeds chose nothing.
    config.seed, config.population.seeds = (100, 1) if chosen["part"] == "search" else (10, 5)
    return config


def arms(rows, chosen):
    """Arm -> its fields: a row each, or, of a search, a row's four trials."""
    factors = zoo_rows.chosen(chosen["set"])
    if chosen["part"] == "table":
        return {row: zoo_rows.arm(row, factors.get(row, 1.0), **STARTS) for row in rows}
    return {
        zoo_rows.trial_name(row, factor): zoo_rows.arm(row, factor, **STARTS)
        for row in rows
        for factor in zoo_rows.trials(row)
    }
