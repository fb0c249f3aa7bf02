"""docs/methods.md, a page of the methods that teach a classifier, made from their docstrings. Not a config.

    python -m configs.methods_page > docs/methods.md

A test says that the page is what this prints. λ's are `kdgan.methods.published`'s, or those of `configs/zoo_rows.py`. A
method's numbers are its rows of results/zoo.json, {data set: {"rows": {row: {measure: [mean, half of the 95 % interval]}}}},
where that file has them.
"""

import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from configs import tables, zoo_rows, zoo_table
from kdgan import files, methods
from kdgan.methods.published import PUBLISHED

FILE = zoo_table.FILE
WIDTH = 112  # of a line of code
# Measures of a row that stand in a line: head, what is shown of 1, digits, unit; the first is needed.
SHOWN = {"accuracy": ("accuracy", 100, 2, "%"), "nll": ("NLL", 1, 4, ""), "ece": ("ECE", 100, 2, "%")}

HEAD = """# Ways to teach a classifier

Printed by `python -m configs.methods_page` from the docstrings of the code. Each section says what a method compares, whose
it is, which terms it has, what published code does differently, and what to write into a config. Arguments of each are in
[reference.md](reference.md). Those of one teacher, or of none, in one table, on digits or MNIST:
[configs/zoo.py](../configs/zoo.py); in the published setting on CIFAR-100:
[configs/cifar100_zoo.py](../configs/cifar100_zoo.py).

A method gives the student *terms*, numbers that are to become small; each has a weight, its λ. The term `ce` is the
cross-entropy on the labels and stands beside nearly all others. Published λ's are those of the authors, or of
others who compared the methods (RepDistiller, mdistiller, torchdistill, Knowledge-Distillation-Zoo: libraries for
PyTorch), multiplied by a constant where a published term differs from ours by one. A player is a network, or a
memory, that a config names; what "moves with the student" learns by the same terms. Other players are frozen, unless
a section says that they move.

| sign | what it is |
|---|---|
| s, t | logits of student and teacher for an image x, k of them, one a class; y its label |
| CE, KL | cross-entropy; Kullback-Leibler divergence, KL(p ‖ q) = Σ p·log(p/q), of logits that of their softmax |
| T, τ | a temperature, by which logits are divided before the softmax: above 1 the answer is softer |
| S_l, T_l | features of the l-th layer that is compared: maps [b, h, w, c] (height, width, channel) or vectors [b, d] |
| w_l | the weight of a layer, 1 unless said (`weights`) |
| mean | over the units of a layer (h·w·c or d numbers), or over what stands at it |
| ‖x‖, ‖X‖_F | the root of the sum of squares, of a vector, and of a matrix |
| (x)₊, onehot(y), E | max(x, 0); 1 at y and 0 elsewhere; the mean over examples |
| r | a small network that gives the student's features the teacher's shape; a player, which learns with the student |
| D | a discriminator; D(x) is the probability that x is real |
| b | images of a batch; "a statistic of the batch" is one number of all, on several devices of each one's share |

What stands indented goes into a config: `method` and `lambdas` into a stage or an arm. The layers named (`features`) are
those of the zoo's residual networks; `--mode=explain` lists the paths of yours. Published λ's were chosen for large networks
and long trainings. In a short one they can drown the labels: on MNIST the search took a tenth of them for nine rows of the
table. Each row says by what its λ's were multiplied; try your own times 0.1 to 3 on the validation split.
Several methods at once: `method=dict(name="combine", parts=("kd", dict(name="hint", features=("stage2",))))`, with the λ's
of all their terms.
"""
# File of kdgan/methods -> the heading of its methods, in the order of the page.
FAMILIES = {
    "supervised": "No teacher",
    "logits": "The teacher's answers",
    "matching": "More of the teacher's answers",
    "features": "The teacher's layers",
    "factors": "Factors of the teacher's layers",
    "relations": "How examples lie to one another",
    "contrastive": "An example among others",
    "several": "Several teachers, and discriminators of features",
    "adversarial": "A discriminator",
    "alone": "The student as its own teacher",
    "together": "Players that learn together",
}
# Method that is no row of the zoo -> what a config says for it: players beside the student, the method, λ's.
_GAME = {"discriminator": {"real": 1.0, "fake": 1.0}, "student": {"ce": 1.0, "adv": 1.0}}
_JUDGE = {"discriminator": {"model": "output_discriminator"}}
EXAMPLES: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]]] = {
    "logistic": ({}, {"name": "logistic"}, {"student": {"ce": 0.1, "logistic": 0.9}}),
    "noisy": ({}, {"name": "noisy", "ratio": 0.5, "sigma": 0.1}, {"student": {"ce": 0.5, "mimic": 0.5}}),
    "paraphrase": (
        {"paraphraser": {"model": "paraphraser"}},
        {"name": "paraphrase", "features": ("stage3",)},
        {"paraphraser": {"reconstruction": 1.0}},
    ),
    "several": (
        {"teacher_b": {"model": "resnet14"}},
        {"name": "several", "teachers": ("teacher", "teacher_b"), "weights": "confidence"},
        {"student": {"ce": 1.0, "kd": 0.5}},
    ),
    "meal": (
        {"teacher_b": {"model": "resnet14"}, **_JUDGE},
        {"name": "meal", "teachers": ("teacher", "teacher_b")},
        PUBLISHED["meal"],
    ),
    "adversarial_features": (_JUDGE, {"name": "adversarial_features", "features": ("embedding",)}, _GAME),
    "adversarial": (_JUDGE, {"name": "adversarial"}, _GAME),
    "nagan": (
        {"discriminator": {"model": "kdgan_discriminator"}},
        {"name": "nagan"},
        {"discriminator": {"real": 1.0, "student": 1.0}, "student": {"ce": 1.0, "adv": 1.0}},
    ),
    "joint": ({}, {"name": "joint"}, {"student": {"teacher_ce": 1.0, "ce": 1.0, "kd": 1.0}}),
    "mutual": (
        {"peer": {"model": "resnet8"}},
        {"name": "mutual", "peers": ("student", "peer")},
        {"student": {"ce": 1.0, "kd": 1.0}, "peer": {"ce": 1.0, "kd": 1.0}},
    ),
}
TAIL = '''## Teachers one after another

Born-again networks (Furlanello et al. 2018), each taught by the one before, and a teacher's assistant (Mirzadeh et al. 2020)
are stages of `kd`: [configs/generations.py](../configs/generations.py).

## One of your own

A way of teaching is a function that returns a `Part`: its name, its terms [b], and the features that it reads of student and
teacher. In `my_project/methods.py`:

```python
import jax.numpy as jnp

from kdgan.methods.taught import Part, Seen, as_method


@as_method
def cosine(*, feature: str = "embedding", power: float = 1.0) -> Part:
    """1 − cos of the angle between the student's and the teacher's feature, to a power; term `cosine`."""

    def terms(seen: Seen):
        s, t = seen.features[feature], seen.targets[feature]
        length = lambda x: jnp.sqrt(jnp.sum(x**2, axis=-1) + 1e-12)
        return {"cosine": (1 - jnp.sum(s * t, axis=-1) / (length(s) * length(t))) ** power}

    return Part("cosine", terms, features=(feature,), targets=(feature,))
```

It stands alone, or beside others in one move, and takes cached teachers, unlabelled images and any kind of label as they do:

    method=dict(name="combine", parts=("kd", dict(name="my_project.methods.cosine", feature="embedding"))),
    lambdas=dict(student=dict(ce=0.1, kd=0.9, cosine=1.0))

`seen.student` and `seen.teacher` are the outputs of both; a part with an adapter names it in `movers` and calls it as
`seen.players.NAME`. Moves of a discriminator, or of several players, are a method of their own: `kdgan.Method`, in README.

## Games

[KDGAN](../results/kdgan.md) (Wang et al. 2018), the method `kdgan`, has all three: student, teacher and a discriminator of
labels learn in one game, whose results stand there. Its equation is in `kdgan/methods/kdgan.py`.
'''


def markdown() -> str:
    """The page, as one Markdown text."""
    results = files.read_json(FILE) if FILE.is_file() else {}
    return "\n".join([HEAD, *_families(results), TAIL])


def _families(results: Mapping[str, Any]) -> Iterator[str]:
    for family, heading in FAMILIES.items():
        yield f"## {heading}\n"
        for name, make in methods.BY_NAME.items():
            if make.__module__ == f"kdgan.methods.{family}":
                yield section(name, make, results)


def section(name: str, make: Any, results: Mapping[str, Any]) -> str:
    """What a method is, what to write into a config, and its numbers where there are any."""
    rows = [row for row, method in zoo_rows.METHODS.items() if method["name"] == name]
    parts = [f"### {name}", *_paragraphs(make), _lambdas(name, rows), *map(_written, rows)]
    parts += [_example(*EXAMPLES[name])] if name in EXAMPLES else []
    parts += [line for dataset, of_set in results.items() if (line := _numbers(dataset, of_set, rows))]
    return "\n\n".join(part for part in parts if part) + "\n"


def _paragraphs(make: Any) -> list[str]:
    """The paragraphs of a docstring up to its arguments, each on one line."""
    text = re.split(r"^(?:Args|Raises|Returns):$", inspect.getdoc(make) or "", flags=re.M)[0]
    return [" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n")]


def _lambdas(name: str, rows: Sequence[str]) -> str:
    """A method's published λ's, where no row of the zoo has them."""
    if name not in PUBLISHED or any(row not in zoo_rows.OWN for row in rows):
        return ""
    leads = "; ".join(
        f"{lead}: {', '.join(f'`{term}` {value:.4g}' for term, value in terms.items())}"
        for lead, terms in PUBLISHED[name].items()
    )
    return f"Published λ's, in our terms: {leads}."


def _written(row: str) -> str:
    """What a config says for a row of the zoo."""
    whose = f"The row `{row}` of the zoo" if row in zoo_rows.OWN else "With the published λ's, in our terms"
    lambdas = {"student": zoo_rows.lambdas(row)}
    return f"{whose}:\n\n{_example(zoo_rows.BESIDE.get(row, {}), zoo_rows.method(row), lambdas)}"


def _example(players: Mapping[str, Any], method: Mapping[str, Any], lambdas: Mapping[str, Any]) -> str:
    """Lines of a config as an indented block."""
    short = lambda value: value if isinstance(value, Mapping) else float(f"{value:.4g}")
    rounded = {lead: {term: short(value) for term, value in terms.items()} for lead, terms in lambdas.items()}
    lines = [f"config.players.{player} = {_call(fields)}" for player, fields in players.items()]
    lines += [f"method={_call(method)},", f"lambdas={_call(rounded)}"]
    whole = [textwrap.fill(line, WIDTH, subsequent_indent="    ", break_on_hyphens=False) for line in lines]
    return textwrap.indent("\n".join(whole), "    ")


def _call(fields: Mapping[str, Any]) -> str:
    """`dict(name="kd", temperature=4.0)`."""
    shown = lambda value: _call(value) if isinstance(value, Mapping) else repr(value).replace("'", '"')
    return f"dict({', '.join(f'{name}={shown(value)}' for name, value in fields.items())})"


def _numbers(dataset: str, of_set: Mapping[str, Any], rows: Sequence[str]) -> str:
    """A line of a method's rows in results/zoo.json, and of labels alone beside them; empty where it has none."""
    known = {row: of_set["rows"][row] for row in rows if "accuracy" in of_set["rows"].get(row, {})}
    if not known:
        return ""
    several = len(rows) > 1
    texts = []
    for row, measured in known.items():
        numbers = ", ".join(_shown(measured, measure) for measure in SHOWN if measure in measured)
        texts.append(
            (f"`{row}` " if several else "") + numbers + _changed(row, (of_set.get("factors") or {}).get(row, 1.0))
        )
    alone = of_set["rows"].get(zoo_table.BASELINE)
    beside = f"; labels alone: {_shown(alone, 'accuracy')}" if alone and zoo_table.BASELINE not in rows else ""
    return f"On {dataset} ([the table](../results/zoo.md)): {'; '.join(texts)}{beside}."


def _shown(measured: Mapping[str, Any], measure: str) -> str:
    head, scale, digits, unit = SHOWN[measure]
    return f"{head} {tables.shown(measured[measure], scale, digits, unit=unit)}"


def _changed(row: str, factor: float) -> str:
    """What a row of the table has other than what is written above."""
    if factor == 1.0:
        return ""
    what = f"`{zoo_rows.SCALED[row][0]}`" if row in zoo_rows.SCALED else "the λ's beside `ce`"
    return f" with {what} times {factor:g}"


if __name__ == "__main__":
    print(markdown(), end="")
