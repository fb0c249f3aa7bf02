"""Classes that come later: a student learns new ones and keeps those that the old model, the player `teacher`, knows.

The old model is the student of an earlier stage, frozen: `start=dict(student="before", teacher=dict(stage="before",
player="student"))`. It may have fewer outputs than the student; class c is output c of both. Where it has as many, but was
trained on some of them, `old` names these.

`gan_replay` is how a generator that remembers goes on when its classes, too, come in portions.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kdgan.game import Batch, Method, Move, fold_in_name
from kdgan.losses import label_spaces, logits
from kdgan.methods.gan import check_images, check_latent, gan, noise_of
from kdgan.methods.logits import Value, check_temperature, show, value_at
from kdgan.methods.taught import check_kind, on_label

Classes = Sequence[Any] | None  # numbers of classes, checked by `check_classes`
RESPONSES = ("soft", "hard")


def lwf(
    *, temperature: Value = 2.0, old: Classes = None, new: Classes = None, label_kind: str = "class",
    label_classes: Classes = None,
) -> Method:  # fmt: skip
    """Learning without forgetting (Li and Hoiem 2016): CE(y, s) + λ·T²·KL of the old model's classes; terms `ce`, `kd`.

    kd = T²·KL(softmax(t/T) ‖ softmax(s/T)), both over the old classes alone, on the images of the batch, which may all be
    of new classes. The paper's term is a cross-entropy without T²: its λ_o = 1 at T = 2 is λ = 1/T² = ¼ here.

    Args:
      temperature: T, a number or a schedule of the step.
      old: the old model's classes; None: all of its outputs.
      new: classes over which the cross-entropy is taken, as with a head for each task: the paper's; None: all of the
        student's, so that new classes push old ones down.
      label_kind: classes alone are accepted.
      label_classes: of the labels, all of which `new` has; the data's where a run is asked for.

    Raises:
      ValueError: classes that a player has not, labels of which `new` says nothing, or another kind of label.
    """
    check_kind("lwf", label_kind, ("class",))
    check_temperature("temperature", temperature)
    check_classes("old", old)
    check_classes("new", new)
    if missing := [number for number in label_classes or () if new is not None and number not in new]:
        raise ValueError(
            f"method.new = {new}: the data have labels of class {missing[0]}, too; name all that they have"
        )

    def student(players, batch, key):
        s, t = players.student(batch["image"]), players.teacher(batch["image"])
        known = old_classes(old, s, t)
        pair = label_spaces.columns(s, known), label_spaces.columns(t, known)
        kd = logits.kl_divergence(*pair, temperature=value_at(temperature, players.step))
        return {"ce": _on_label(s, batch, new), "kd": kd}

    details = {"kd": show("T", temperature), **({} if new is None else {"ce": f"over {len(new)} classes"})}
    return Method(Move("student", student, details=details))


def lwf_exemplar(*, old: Classes = None, new: Classes = None, label_kind: str = "class") -> Method:
    """The loss of iCaRL (Rebuffi et al. 2017, algorithm 3), on new images and exemplars of old classes; terms `ce`, `kd`.

    Every class has a sigmoid of its own. ce = Σ_{c new} BCE(1[y = c], σ(s_c)) and kd = Σ_{c old} BCE(σ(t_c), σ(s_c)): an
    exemplar tells the new classes that it is none of them, and is told what it is by the old model alone. Both λ's are 1 in
    the paper. It then classifies by the nearest mean of exemplars; here outputs classify, the paper's "hybrid1". Exemplars
    come from `data.exemplars`; without any it is the same loss on new images. The first step, before which there is no old
    model, is `old=()`: `ce` alone, no teacher is called.

    Args:
      old: the old model's classes; None: all of its outputs; (): there is none.
      new: classes to learn; None: the student's that are not old.
      label_kind: classes alone are accepted.

    Raises:
      ValueError: classes that a player has not, or another kind of label; no class is new.
    """
    check_kind("lwf_exemplar", label_kind, ("class",))
    is_first = old is not None and not len(old)
    check_classes("old", None if is_first else old)
    check_classes("new", new)

    def student(players, batch, key):
        s = players.student(batch["image"])
        t = None if is_first else players.teacher(batch["image"])
        known = () if is_first else old_classes(old, s, t)
        learned = tuple(c for c in range(s.shape[-1]) if c not in known) if new is None else tuple(new)
        if not learned:
            raise ValueError(
                f"method.old = {old}: no class of players.student is new; name fewer, or give it more classes"
            )
        tags = label_spaces.columns(_one_hot(batch["label"], s.shape[-1]), learned)
        ce = logits.sigmoid_cross_entropy(label_spaces.columns(s, learned), tags)
        if t is None:
            return {"ce": ce}
        return {"ce": ce, "kd": logits.sigmoid_matching(label_spaces.columns(s, known), label_spaces.columns(t, known))}

    return Method(Move("student", student))


def replay(
    *, latent: int = 64, temperature: Value = 1.0, old: Classes = None, labels: str = "soft", label_kind: str = "class"
) -> Method:
    """Deep generative replay (Shin et al. 2017): new images, and a frozen generator's labelled by the old model.

    Terms `ce`, on the batch, and `replay`, on as many images of the player `generator`, which an earlier stage trained on
    the old classes; the student sees both at once, so that its batch norm does. Over all classes of the student, so that
    an old image given to a new class costs. The paper's r·new + (1 − r)·old is λ's of r and 1 − r.

    Args:
      latent: dimension of the generator's noise.
      temperature: T of soft labels, T²·KL.
      old: the old model's classes; None: all of its outputs.
      labels: "soft": the old model's probabilities, zero for new classes (`kdgan.losses.label_spaces.widened_kl`);
        "hard": its most probable old class.
      label_kind: classes alone are accepted.

    Raises:
      ValueError: classes that a player has not, another kind of label, images of another shape than the data's.
    """
    check_kind("replay", label_kind, ("class",))
    check_latent("latent", latent)
    check_temperature("temperature", temperature)
    check_classes("old", old)
    if labels not in RESPONSES:
        raise ValueError(f"method.labels = {labels!r}: accepted are {', '.join(RESPONSES)}")

    def student(players, batch, key):
        image, size = batch["image"], len(batch["image"])
        made = players.generator(noise_of(batch, key, latent))
        check_images("generator", made, batch)
        both = players.student(jnp.concatenate([image, made]))
        t = players.teacher(made)
        known = old_classes(old, both, t)
        if labels == "hard":
            response = jnp.argmax(label_spaces.columns(t, known), axis=-1)
            term = logits.cross_entropy(both[size:], jnp.asarray(np.asarray(known, np.int32))[response])
        else:
            at = value_at(temperature, players.step)
            term = label_spaces.widened_kl(both[size:], t, known, temperature=at)
        return {"ce": on_label(label_kind, both[:size], batch), "replay": term}

    return Method(Move("student", student, details={"replay": show("T", temperature) if labels == "soft" else labels}))


def gan_replay(
    *, share: float = 0.5, latent: int = 64, generator: str = "generator", loss: str = "nonsaturating",
    real_label: float = 1.0, penalty: str | None = None, penalty_every: int = 1, diffaugment: str = "",
    discriminator_repeats: int = 1,
) -> Method:  # fmt: skip
    """A GAN on new images and on those of the frozen player `old_generator`: a generator that remembers (Shin et al. 2017).

    The discriminator's real images are the batch's, of which the first ⌊share·b + ½⌋ are replaced by the old generator's;
    terms as of `gan`. In the paper `share` is that of the tasks before: ½ at the second of them, ⅔ at the third.

    Args:
      share: of the real images that the old generator makes, in [0, 1].
      latent: dimension of the noise of both generators.
      generator: the player that learns.
      loss: this and what follows as of `gan`.
      real_label: likewise.
      penalty: likewise.
      penalty_every: likewise.
      diffaugment: likewise.
      discriminator_repeats: likewise.

    Raises:
      ValueError: a share outside [0, 1], and as `gan`.
    """
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise ValueError(f"method.share = {share!r}: a number in [0, 1] is accepted")
    game = gan(
        generator=generator, latent=latent, loss=loss, real_label=real_label, penalty=penalty,
        penalty_every=penalty_every, diffaugment=diffaugment, discriminator_repeats=discriminator_repeats,
    )  # fmt: skip

    def remembering(move: Move) -> Move:
        def terms(players, batch, key):
            count = int(share * len(batch["image"]) + 0.5)
            made = players.old_generator(noise_of(batch, fold_in_name(key, "old"), latent))
            check_images("old_generator", made, batch)
            image = jnp.concatenate([made[:count], batch["image"][count:]])
            return move.terms(players, {**batch, "image": image}, key)

        return dataclasses.replace(move, terms=terms)

    return Method(*(remembering(move) for move in game.moves))


def old_classes(old: Classes, s: Any, t: Any) -> tuple[int, ...]:
    """The classes that the old model knows and the student is to keep.

    Raises:
      ValueError: the old model, or the student, lacks one.
    """
    known = tuple(range(t.shape[-1])) if old is None else tuple(old)
    least = max(known) + 1
    for name, outputs in (("teacher", t), ("student", s)):
        if outputs.shape[-1] < least:
            raise ValueError(
                f"method.old = {old}: the old classes reach {least - 1}, players.{name} has {outputs.shape[-1]} outputs; set"
                " method.old to classes that both have, or the student's model_args.num_classes"
            )
    return known


def check_classes(name: str, classes: Classes) -> None:
    """Raises ValueError for what are no numbers of classes."""
    if classes is None:
        return
    whole = not isinstance(classes, str) and all(isinstance(n, int) and not isinstance(n, bool) for n in classes)
    if not whole or not len(classes) or len({*classes}) != len(classes) or min(classes) < 0:
        raise ValueError(f"method.{name} = {classes!r}: numbers of classes, each once, or None, are accepted")


def _on_label(s: Any, batch: Batch, new: Classes) -> Any:
    return on_label("class", s, batch) if new is None else label_spaces.cross_entropy_among(s, batch["label"], new)


def _one_hot(label: Any, k: int) -> Any:
    return jax.nn.one_hot(label, k) if jnp.issubdtype(label.dtype, jnp.integer) else label
