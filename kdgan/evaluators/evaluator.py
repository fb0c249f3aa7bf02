"""What an evaluator is: the measures by which a player is judged, and the pure functions that take them.

    def psnr() -> Evaluator:
        def sums(apply, variables, batch, key, others):
            error = apply(variables, batch) - batch["target"]
            value = -10 * jnp.log10(jnp.mean(error**2, axis=(1, 2, 3)))
            return {"count": jnp.sum(batch["mask"]), "psnr": jnp.sum(jnp.where(batch["mask"], value, 0.0))}

        def summarise(sums):
            return {"psnr": sums["psnr"] / sums["count"]}

        return Evaluator(Measure("psnr", "PSNR", unit="dB", digits=2), sums=sums, summarise=summarise)

A config names it by its dotted path, as it names a method: `players.student.evaluate = "my_project.evaluators.psnr"`.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from flax import linen as nn

from kdgan.evaluators.figures import Figure


@dataclasses.dataclass(frozen=True)
class Measure:
    """One number of an evaluator, and how it is shown.

    Attributes:
      name: its key in summary.json and metrics.jsonl.
      head: of its column in a table; "": the name.
      unit: behind the number, as "%" or "dB".
      scale: the number times this is what is shown: 100 for a share in per cent.
      higher_is_better: else lower is.
      digits: decimals that are shown: of an interval as many as its half width asks for, one more or less than this; or
        (default, lowest, highest), or (default, lowest, highest, digits of the half width).
      bounds: (least, largest) value that it can have, before it is scaled; None where there is no bound.
      note: a sentence that stands below a table of it.
      elements: the name of a field of the data ("label") where the measure is not one number but one for each class or tag
        of this field [k]; it has a table of its own, and no column.
      column: whether it has a column in the table of results; else it stands in summary.json, and below the table.
      traded: whether it is given up for the first measure, or the other way round, so that a report draws one against the
        other: distortion and perception (Blau and Michaeli 2018).
    """

    name: str
    head: str = ""
    unit: str = ""
    scale: float = 1.0
    higher_is_better: bool = True
    digits: int | tuple[int, ...] = 3
    bounds: tuple[float | None, float | None] = (None, None)
    note: str = ""
    elements: str = ""
    column: bool = True
    traded: bool = False

    @property
    def record(self) -> dict[str, Any]:
        """What summary.json says of it."""
        n = self.digits
        default, lowest, highest, *significant = (n, max(n - 1, 0), n + 1) if isinstance(n, int) else n
        return {
            "head": self.head or self.name,
            "unit": self.unit,
            "scale": self.scale,
            "better": "higher" if self.higher_is_better else "lower",
            "digits": [default, lowest, highest, *(significant or [2])],
            "bounds": list(self.bounds),
            "note": self.note,
            "column": self.column and not self.elements,
            **({"traded": True} if self.traded else {}),
        }


@dataclasses.dataclass(frozen=True, eq=False)
class Judged:
    """A player with parameters, as an evaluator is given it.

    Attributes:
      name: its role.
      module: Flax module.
      variables: {"params": tree, "model_state": tree}.
      given: (args, kwargs) that the method calls it with, as `jax.ShapeDtypeStruct`s.
      output: the shapes of its output.
      forward: `(variables, batch of setting.splits.batches(split)) -> output` in evaluation mode, on the fields that the
        player is given; compiled.
      others: the players of its arm that the evaluator `calls`, by name, with their parameters.
    """

    name: str
    module: nn.Module
    variables: Mapping[str, Any]
    given: tuple[tuple, Mapping[str, Any]]
    output: Any
    forward: Callable[[Any, Mapping[str, Any]], Any] | None = None
    others: Mapping[str, "Judged"] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class Setting:
    """What a run offers to an evaluator beside the batches: its splits, and by what distributions are compared.

    Attributes:
      splits: `size(split)`, `images(split, rows)`, `batches(split)`, `fingerprint(split)` of "train"-ing examples,
        "validation" and "test".
      fields: of the data, name -> `kdgan.data.Field`.
      data: name of the data set, for reports and caches.
      mean, std: of its pixels: a player sees (pixel/255 − mean)/std.
      samples: split -> examples that are drawn where a distribution is judged.
      latent: dimension of the noise that all players are given which make images of it.
      extractor: `kdgan.metrics.features.Extractor` by whose features distributions are compared; None: there is none.
      extractor_from: whose it is, in words.
      extractor_pixels: (mean, std) by which the extractor's images are normalised.
      training: `fetch` of training images by row, and the rows.
      compute_dtype: in which players compute; None: float32.
      cache: folder in which features may be kept; None: none.
      see: a batch of `splits.batches` as players see it: normalised, and with its noise where images are degraded.
      memo: what an evaluator keeps from one call to the next, under keys of its own.
    """

    splits: Any
    fields: Mapping[str, Any]
    data: str
    mean: Any
    std: Any
    samples: Mapping[str, int]
    latent: int
    extractor: Any
    extractor_from: str
    extractor_pixels: tuple[Any, Any]
    training: tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]
    compute_dtype: Any
    cache: Any
    see: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda batch: batch
    memo: dict[Any, Any] = dataclasses.field(default_factory=dict)

    @property
    def pixels(self) -> Mapping[str, Any]:
        """How images are normalised, {"mean", "std"}, as a batch of `sums` has it."""
        return {"mean": self.mean, "std": self.std}


Apply = Callable[..., Any]  # apply(variables, batch, **kwargs) -> output, in evaluation mode
Others = Mapping[str, Callable[[Mapping[str, Any]], Any]]  # name of a player of the arm -> batch -> its output
Sums = Callable[[Apply, Any, Mapping[str, Any], Any, Others], Any]


@dataclasses.dataclass(frozen=True, eq=False, init=False)
class Evaluator:
    """How a player is judged. Only measures, and `sums` with `summarise` or `measure`, are needed.

    Attributes:
      measures: the first is what arms are compared by, and what the best by validation is kept by; the second stands beside
        it where arms are compared.
      sums: `(apply, variables, batch, key, others) -> pytree of arrays`, pure, and compiled by the run: sums over the
        examples of a batch whose `batch["mask"]` [b] is true; added up over batches. `batch` has the fields of the data as
        players see them; an image is (pixel/255 − mean)/std, with `batch["pixels"]` {"mean", "std"}, numbers or one for each
        channel. `apply(variables, batch)` is the player's output; it may be called on another batch, too, and
        with other arguments of the module. `others["teacher"](batch)` is the output of another player of the arm.
      summarise: `sums of a split -> {measure: number}`, of NumPy arrays; a measure that is not known is left out.
      others: names of the players whose outputs `sums` looks up in its `others`; the final evaluation gives those that
        the arm has, and never the player itself.
      calls: name of a player of the arm that `measure`, `watch` and `pictures` call, as `judged.others` has it -> `output ->
        None or what is wrong with a player of this output`. The stage's method calls it, or it is beside the method.
      keeps: `(apply, variables, batch, key) -> {name: [b, ...]}`, pure: what is kept of each test example in evaluation.npz.
      measure: `(setting, judged, split) -> {measure: number}`, on the host: what is no sum over a split.
      fits: `(output, fields) -> None or why a player of this output cannot be judged so`; `output` is a pytree of
        `jax.ShapeDtypeStruct`, `fields` name -> `kdgan.data.Field`. "{player}" in the reason becomes players.<name>.
      samples: whether distributions are compared, by the features of `evaluate.extractor`.
      critic: whether features of `evaluate.extractor` are looked at image by image, for which a few images are enough.
      looks: `(critic, fields) -> None or why features of evaluate.extractor cannot be compared so`, by shapes: `critic` is a
        `kdgan.evaluators.critic.Critic` of shapes, `fields` those of the test split in the sides of its smallest image.
      draws: `(given, output) -> {"latent", "conditional", "method"}`: how images are drawn from the player, where they are;
        ValueError: they cannot be drawn so.
      watch: `(setting, judged) -> Figure or None`: images that are written while the player trains, of the first seed.
      pictures: `(setting, judged) -> figures`, of every arm's first seed.
      figures: `(setting, chosen) -> figures`, of the arm that the report singles out: see `Chosen`.
      of_seeds: `(setting, name, sums) -> figures`, of each player that an arm trained: from what `sums` gave of the test
        split, one of each seed.
      advise: `(outputs, targets, judged) -> sentences`: what looks wrong about a frozen player's outputs [n, ...].
      notes: `(setting) -> {text: names of the measures that it is about}`: what must not be left out beside the numbers.
      remarks: `{measure: number} of one seed's test split -> sentences about the player`: what must be said before any
        number, as "has collapsed, ..."; a report says of which seeds.
      heads: `(setting) -> {measure: head}`, or in place of a head {"head", "scale"}, where they depend on the setting.
      about: `(setting) -> {...}`: with what it measured, kept in summary.json.
      differentiates: whether `sums` differentiates the player, which no exported file can be: it is not measured of files.
      gives: what an exported file gives of the player's output: "values", as it is; "probabilities", its softmax; "tags",
        its sigmoid; "images", in [0, 1] (`kdgan.export.outputs`).
      name: by which a config names it; set by `build`.
    """

    measures: tuple[Measure, ...]
    sums: Sums | None
    summarise: Callable[[Any], Mapping[str, Any]] | None
    others: tuple[str, ...]
    calls: Mapping[str, Callable[[Any], str | None]]
    keeps: Callable[[Apply, Any, Mapping[str, Any], Any], Mapping[str, Any]] | None
    measure: Callable[[Setting, Judged, str], Mapping[str, Any]] | None
    fits: Callable[[Any, Mapping[str, Any]], str | None]
    samples: bool
    critic: bool
    looks: Callable[[Any, Mapping[str, Any]], str | None] | None
    draws: Callable[[tuple, Any], Mapping[str, Any]] | None
    watch: Callable[[Setting, Judged], Figure | None] | None
    pictures: Callable[[Setting, Judged], Sequence[Figure]] | None
    figures: Callable[[Setting, "Chosen"], Sequence[Figure]] | None
    of_seeds: Callable[[Setting, str, Sequence[Any]], Sequence[Figure]] | None
    advise: Callable[[np.ndarray, np.ndarray, Judged], Sequence[str]] | None
    notes: Callable[[Setting], Mapping[str, Sequence[str]]] | None
    remarks: Callable[[Mapping[str, float]], Sequence[str]] | None
    heads: Callable[[Setting], Mapping[str, str | Mapping[str, Any]]] | None
    about: Callable[[Setting], Mapping[str, Any]] | None
    gives: str
    differentiates: bool
    name: str

    def __init__(
        self,
        *measures: Measure,
        sums: Sums | None = None,
        summarise: Callable[[Any], Mapping[str, Any]] | None = None,
        others: Sequence[str] = (),
        calls: Mapping[str, Callable[[Any], str | None]] | None = None,
        keeps: Callable | None = None,
        measure: Callable | None = None,
        fits: Callable[[Any, Mapping[str, Any]], str | None] = lambda output, fields: None,
        samples: bool = False,
        critic: bool = False,
        looks: Callable | None = None,
        draws: Callable | None = None,
        watch: Callable | None = None,
        pictures: Callable | None = None,
        figures: Callable | None = None,
        of_seeds: Callable | None = None,
        advise: Callable | None = None,
        notes: Callable | None = None,
        remarks: Callable | None = None,
        heads: Callable | None = None,
        about: Callable | None = None,
        gives: str = "values",
        differentiates: bool = False,
        name: str = "",
    ):
        """Raises ValueError: no measure, one named twice, or neither `sums` with `summarise` nor `measure`."""
        if not measures or not all(isinstance(one, Measure) for one in measures):
            raise ValueError("Evaluator(...) takes one or more Measures, the one that arms are compared by first")
        names = [one.name for one in measures]
        if twice := next((one for one in names if names.count(one) > 1), None):
            raise ValueError(f"Evaluator(...): the measure {twice!r} stands twice")
        if (sums is None) != (summarise is None):
            raise ValueError("Evaluator(...): sums and summarise are given together, or neither")
        if sums is None and measure is None:
            raise ValueError("Evaluator(...): nothing measures; give sums and summarise, or measure")
        if measures[0].elements:
            raise ValueError(
                f"Evaluator(...): the first measure, {names[0]!r}, must be one number, for arms are compared by it"
            )
        values = {key: value for key, value in locals().items() if key in self.__dataclass_fields__}
        for key, value in {**values, "others": tuple(others), "calls": dict(calls or {})}.items():
            object.__setattr__(self, key, value)


@dataclasses.dataclass(frozen=True, eq=False)
class Chosen:
    """The players that a report singles out, for `Evaluator.figures`.

    Attributes:
      judged: of the seed that is best on the validation split, else the first.
      about: which arm and seed it is, and how it was chosen, in words.
      sums: of each seed, what `sums` gave for the test split.
      kept: name -> [seeds, n, ...] of what `keeps` kept of the test split.
      seed: its place among the seeds.
      others: name -> what `keeps` kept of another player of the arm, name -> [n, ...], of the same seed.
      labels: [n, ...] of the test split, where it has any.
    """

    judged: Judged
    about: str
    sums: Sequence[Any]
    kept: Mapping[str, np.ndarray]
    seed: int
    others: Mapping[str, Mapping[str, np.ndarray]]
    labels: np.ndarray | None
