"""CRD's memory bank (Tian et al. 2020): an embedding of every training example by student and by teacher, as a player.

    def student(players, batch, key):
        logits, features = players.student(batch["image"], features=("embedding",))
        ...
        crd = players.bank(features["embedding"], teachers["embedding"], batch["index"], rows)

    Move(("student", "bank"), student)

Its two linear layers are learned with the student; the banks are its mutable state, as batch statistics are: written by the
moves that name it, and saved, resumed and mapped over members with the rest of a run's state.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array
from jaxtyping import Float, Integer

from kdgan.losses import contrastive
from kdgan.models.layers import check_fields


class MemoryBank(nn.Module):
    """CRD's contrast with banks: features [b, s] and [b, t], which examples, and whom to compare with -> loss [b].

    Each player's feature goes through a linear layer of its own and is scaled to length 1; it is scored against the other's
    bank; the values of both sides are added (`kdgan.losses.contrastive.nce`). In training mode the banks then take the
    embeddings of the batch, half old and half new, and the first call sets the constants Z. In evaluation mode nothing is
    written.

    Variables `memory`: `student` and `teacher` float32 [n, d], uniform between ±√(3/d) at first, as published, so that their
    rows have length 1 in the mean square; `log_z` float32 [2], of the scores against the teacher's bank and against the
    student's, and `begun` int32, whether these are set.

    Attributes:
      examples: n, that batches are drawn from.
      features: d.
      temperature: τ.
      momentum: the share of the old row in the new.
      axis_name: of the devices over which a batch is split: each writes the rows of all of them.
    """

    examples: int = 50000
    features: int = 128
    temperature: float = 0.07
    momentum: float = 0.5
    axis_name: str | None = None

    over_devices = True  # all of them hold the same, whatever the config says

    def __post_init__(self):
        check_fields(self, positive=("examples", "features"), rates=("momentum",))
        if not self.temperature > 0:
            raise ValueError(f"MemoryBank.temperature = {self.temperature}; it accepts numbers above 0")
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        student: Float[Array, "b s"],
        teacher: Float[Array, "b t"],
        index: Integer[Array, " b"],
        rows: Integer[Array, "b m"],
        *,
        train: bool = False,
    ) -> Float[Array, " b"]:
        """The loss of each example, against the banks as they were before this batch.

        Args:
          student: its feature, of which the gradient goes on.
          teacher: its feature.
          index: which training example each is, 0 to n − 1.
          rows: [b, 1 + negatives], the same number first, then those of the examples to compare with (16384 published).
            Of a number that is not in the bank the loss is NaN, and nothing is written.
          train: whether to write.

        Raises:
          ValueError: no negatives.
        """
        bound = (3 / self.features) ** 0.5
        shape = (self.examples, self.features)

        def drawn() -> Array:
            return jax.random.uniform(self.make_rng("params"), shape, jnp.float32, -bound, bound)

        banks = {name: self.variable("memory", name, drawn) for name in ("student", "teacher")}
        log_z = self.variable("memory", "log_z", jnp.zeros, (2,), jnp.float32)
        begun = self.variable("memory", "begun", jnp.zeros, (), jnp.int32)
        given = {"student": student, "teacher": teacher}
        embeddings = {
            name: contrastive.unit(nn.Dense(self.features, name=f"embed_{name}")(feature))
            for name, feature in given.items()
        }
        scores = [
            contrastive.bank_scores(embeddings[name], _held(banks[other].value, rows), temperature=self.temperature)
            for name, other in (("student", "teacher"), ("teacher", "student"))
        ]
        constants = jnp.where(begun.value > 0, log_z.value, self._constants(scores))
        if train and not self.is_initializing():
            log_z.value, begun.value = constants, jnp.ones_like(begun.value)
            written = self._of_all_devices(index)
            for name, bank in banks.items():
                bank.value = self._moved(bank.value, written, self._of_all_devices(embeddings[name]))
        sides = [
            contrastive.nce(log_scores, constant, examples=self.examples)
            for log_scores, constant in zip(scores, constants, strict=True)
        ]
        return sides[0] + sides[1]

    def _constants(self, scores: list[Array]) -> Array:
        """The constants log Z [2] of these scores, of the whole batch."""
        estimates = jnp.stack([contrastive.log_normaliser(one, self.examples) for one in scores])
        estimates = jax.lax.stop_gradient(estimates).astype(jnp.float32)
        if self.axis_name is None:
            return estimates
        of_devices = jax.lax.all_gather(estimates, self.axis_name)
        return jax.nn.logsumexp(of_devices, axis=0) - jnp.log(jnp.float32(len(of_devices)))

    def _of_all_devices(self, x: Array) -> Array:
        x = jax.lax.stop_gradient(x)
        return x if self.axis_name is None else jax.lax.all_gather(x, self.axis_name, tiled=True)

    def _moved(self, bank: Array, index: Array, new: Array) -> Array:
        """The bank with the rows of a batch moved; an example that stands twice in it is written by its first."""
        first = jnp.argmax(index[:, None] == index[None, :], axis=1)
        rows = contrastive.moved_rows(_held(bank, index), new[first], momentum=self.momentum)
        place = jnp.where((index >= 0) & (index < len(bank)), index, len(bank))  # beyond the end nothing is written
        return bank.at[place].set(rows.astype(bank.dtype), mode="drop")


def _held(bank: Array, rows: Array) -> Array:
    """Rows of a bank by number; NaN where there is none."""
    return jnp.take(bank, jnp.where(rows < 0, len(bank), rows), axis=0, mode="fill", fill_value=jnp.nan)
