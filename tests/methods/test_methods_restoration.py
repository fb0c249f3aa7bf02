"""Restorers and style transfer: each term against its equation in NumPy, and what a method never looks at."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import players as small
from kdgan import bicubic, game, methods
from kdgan.losses import affinity, style
from kdgan.models import Function
from kdgan.models.adapters import Adapter
from kdgan.player import PlayerInputs, cached_players

MODULES = {
    "student": small.Restores(), "teacher": small.Restores(6), "critic": small.Restores(5), "adapter": Adapter(),
    "discriminator": small.Patches(),
}  # fmt: skip


def without(batch, *names):
    """The batch without these fields, in both parts."""
    parts = {name: value for name, value in batch.items() if name not in names}
    if "unlabelled" in parts:
        parts["unlabelled"] = without(parts["unlabelled"], *names)
    return parts


def played(name, hyperparameters, modules, batch, seed=0):
    """(lead -> terms, player -> bound module) of a method's moves on a batch, all λ's aside."""
    method = methods.build(name, **hyperparameters)
    state = small.make_state(method, modules, example=batch)
    used = {name: modules[name] for name in state.params}
    players = game.bind(
        used, state.params, state.model_state, step=0, key=jax.random.key(1), trained=method.trained, moving=()
    )
    given = PlayerInputs(batch, None).batch
    return {move.lead: move.terms(players, given, jax.random.key(2)) for move in method.moves}, players


def mean(values):
    return np.asarray(values).reshape(len(values), -1).mean(1)


def features(player, image, *paths):
    return [player(image, features=paths)[1][path] for path in paths]


BATCH = jax.tree.map(jnp.asarray, small.restoration(size=3, others=2))
ALL = jnp.concatenate([BATCH["image"], BATCH["unlabelled"]["image"]])
PARTS = {"labelled": BATCH, "others": BATCH["unlabelled"]}


@pytest.mark.parametrize("targets", ["clean", "again"])
@pytest.mark.parametrize("on", ["labelled", "others"])
def test_restore_is_the_distance_to_its_target(targets, on):
    terms, players = played("restore", {"targets": targets, "on": on, "loss": "l2"}, MODULES, BATCH)
    target = PARTS[on]["target" if targets == "clean" else "again"]
    expected = mean((players.student(PARTS[on]["image"]) - target) ** 2)
    np.testing.assert_allclose(terms["student"]["pixel"], expected, rtol=1e-5)


def test_restore_on_all_has_both_parts():
    terms, players = played("restore", {"on": "all"}, MODULES, BATCH)
    target = np.concatenate([BATCH["target"], BATCH["unlabelled"]["target"]])
    np.testing.assert_allclose(terms["student"]["pixel"], mean(np.abs(players.student(ALL) - target)), rtol=1e-5)


def test_restore_at_half_the_scale_learns_the_image_from_its_bicubic_reduction():
    modules = {"student": small.Restores(scale=2)}
    given = without(jax.tree.map(jnp.asarray, small.restoration(size=2, scale=2)), "target", "again")
    terms, players = played("restore", {"targets": "half", "scale": 2}, modules, given)
    matrix = bicubic.weights(4, 2)
    small_image = np.einsum("ih,jw,bhwc->bijc", matrix, matrix, given["image"]).astype(np.float32)
    expected = mean(np.abs(players.student(jnp.asarray(small_image)) - given["image"]))
    np.testing.assert_allclose(terms["student"]["pixel"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "hyperparameters"),
    [
        ("restore", {"targets": "again", "on": "all"}),
        ("restore_distill", {"clean": False, "on": "others"}),
        ("restore_distill", {"clean": False, "on": "all", "perceptual": ("hidden",), "adversarial": "hinge",
                             "features": ("hidden",), "relations": {"hidden": "hidden"}}),
        ("style", {"content": ("hidden",), "pixel": "l2"}),
    ],
)  # fmt: skip
def test_methods_without_clean_images_never_look_at_them(name, hyperparameters):
    bare = without(BATCH, "target")
    method = methods.build(name, **hyperparameters)
    terms = game.inspect_method(method, MODULES, bare).terms
    spoilt = {**BATCH, "target": np.nan * BATCH["target"],
              "unlabelled": {**BATCH["unlabelled"], "target": np.nan * BATCH["unlabelled"]["target"]}}  # fmt: skip
    moves, _ = played(name, hyperparameters, MODULES, spoilt)
    assert {lead: set(of) for lead, of in moves.items()} == {lead: set(of) for lead, of in terms.items()}
    assert all(np.isfinite(np.asarray(value)).all() for of in moves.values() for value in of.values())


def test_clean_images_of_the_others_are_not_looked_at_either():
    hidden = {**BATCH, "unlabelled": without(BATCH["unlabelled"], "target")}
    for on in ("others", "all"):
        terms, players = played("restore_distill", {"on": on, "perceptual": ("hidden",)}, MODULES, hidden)
        made, taught = players.student(ALL), players.teacher(ALL)
        first = 3 if on == "others" else 0
        of = terms["student"]
        np.testing.assert_allclose(of["target"], mean(np.abs(made[:3] - BATCH["target"])), rtol=1e-5)
        np.testing.assert_allclose(of["teacher"], mean(np.abs(made - taught))[first:], rtol=1e-5)
        reference = jnp.concatenate([BATCH["target"], taught[3:]])
        (a,), (b,) = (features(players.critic, x, "hidden") for x in (made, reference))
        np.testing.assert_allclose(of["perceptual"], mean((a - b) ** 2), rtol=1e-5)


def test_restore_distill_matches_features_behind_the_adapter_and_their_affinity():
    asked = {"clean": False, "features": {"hidden": "hidden"}, "relations": ("hidden",)}
    terms, players = played("restore_distill", asked, MODULES, BATCH)
    (s,), (t,) = (features(players[name], BATCH["image"], "hidden") for name in ("student", "teacher"))
    adapted = players.adapter({"hidden": s}, {"hidden": t})["hidden"]
    np.testing.assert_allclose(terms["student"]["adapted"], mean((adapted - t) ** 2), rtol=1e-5)
    np.testing.assert_allclose(terms["student"]["relations"], affinity.affinity([s], [t]), rtol=1e-5)
    assert list(terms["student"]) == ["teacher", "adapted", "relations"]


def test_features_of_the_others_alone_are_those_of_the_others():
    asked = {"on": "others", "relations": ("hidden",), "pixels": False}
    terms, players = played("restore_distill", asked, MODULES, BATCH)
    others = BATCH["unlabelled"]["image"]
    (s,), (t,) = (features(players[name], others, "hidden") for name in ("student", "teacher"))
    np.testing.assert_allclose(terms["student"]["relations"], affinity.affinity([s], [t]), rtol=1e-5)
    assert list(terms["student"]) == ["target", "relations"]


def test_srgan_needs_no_teacher():
    asked = {"pixels": False, "perceptual": ("hidden",), "adversarial": "nonsaturating"}
    modules = {name: MODULES[name] for name in ("student", "critic", "discriminator")}
    terms, players = played("restore_distill", asked, modules, BATCH)
    made, sigmoid = players.student(BATCH["image"]), jax.nn.sigmoid
    scores = {name: players.discriminator(x) for name, x in (("real", BATCH["target"]), ("fake", made))}
    assert scores["real"].shape == (3, 2, 2)
    np.testing.assert_allclose(terms["discriminator"]["real"], mean(-np.log(sigmoid(scores["real"]))), rtol=1e-5)
    np.testing.assert_allclose(terms["discriminator"]["fake"], mean(-np.log(1 - sigmoid(scores["fake"]))), rtol=1e-5)
    np.testing.assert_allclose(terms["student"]["adv"], mean(-np.log(sigmoid(scores["fake"]))), rtol=1e-5)
    assert set(terms["student"]) == {"target", "perceptual", "adv"}


def test_real_images_are_the_teachers_where_no_clean_ones_are_looked_at():
    asked = {"clean": False, "adversarial": "relativistic_average", "on": "all"}
    terms, players = played("restore_distill", asked, MODULES, BATCH)
    r, f = players.discriminator(players.teacher(ALL)), players.discriminator(players.student(ALL))
    log = lambda x: np.log(jax.nn.sigmoid(x))
    np.testing.assert_allclose(terms["discriminator"]["real"], mean(-log(r - f.mean())), rtol=1e-5)
    np.testing.assert_allclose(terms["student"]["adv"], mean(-log(f - r.mean()) - log(-(r - f.mean()))), rtol=1e-5)


def test_an_image_score_serves_as_well_as_patches():
    asked = {"clean": False, "adversarial": "hinge", "penalty": "r1"}
    modules = {**MODULES, "discriminator": small.Critic()}
    terms, players = played("restore_distill", asked, modules, BATCH)
    score = players.discriminator(players.student(BATCH["image"]))
    np.testing.assert_allclose(terms["student"]["adv"], -score, rtol=1e-5)
    assert terms["discriminator"]["r1"].shape == (3,)


def test_a_cached_teacher_serves_the_terms_of_its_pixels():
    outputs = {name: jnp.sin(part["image"]) for name, part in PARTS.items()}
    cached = {**without(BATCH, "target"), "cached": {"teacher": outputs["labelled"]}}
    cached["unlabelled"] = {**cached["unlabelled"], "cached": {"teacher": outputs["others"]}}
    for on, expected in (("labelled", outputs["labelled"]), ("others", outputs["others"]),
                         ("all", jnp.concatenate([*outputs.values()]))):  # fmt: skip
        method = methods.build("restore_distill", clean=False, on=on)
        inspection = game.inspect_method(method, MODULES, cached)
        assert list(inspection.inputs) == ["student"]
        given = PlayerInputs(cached, None)
        variables = MODULES["student"].init(jax.random.key(0), BATCH["image"])
        players = game.bind(
            {"student": MODULES["student"]}, {"student": variables["params"]}, {}, step=0, key=jax.random.key(1),
            trained=("student",), moving=(), cached=cached_players(given, MODULES, ("student",), {}),
        )  # fmt: skip
        (move,) = method.moves
        made = players.student({"labelled": BATCH["image"], "others": BATCH["unlabelled"]["image"], "all": ALL}[on])
        np.testing.assert_allclose(
            move.terms(players, given.batch, None)["teacher"], mean(np.abs(made - expected)), rtol=1e-5
        )


def test_style_has_johnsons_terms():
    modules = {**MODULES, "style_images": small.styles()}
    asked = {"content": ("last",), "style": ("hidden", "last"), "tv": True}
    terms, players = played("style", asked, modules, BATCH)
    image = BATCH["image"]
    made, painting = players.student(image), players.style_images()
    assert list(terms) == ["student"]
    assert set(terms["student"]) == {"content", "style", "tv"}
    (a,), (b,) = (features(players.critic, x, "last") for x in (made, image))
    np.testing.assert_allclose(terms["student"]["content"], mean((a - b) ** 2), rtol=1e-5)
    expected = 0
    for path in ("hidden", "last"):
        (x,), (y,) = (np.asarray(features(players.critic, z, path)) for z in (made, painting))
        gram = [np.einsum("bhwc,bhwd->bcd", f, f) / f[0].size for f in (x, y)]
        expected = expected + np.square(gram[0] - gram[1]).sum((1, 2))
    np.testing.assert_allclose(terms["student"]["style"], expected, rtol=1e-4)
    down, right = np.diff(made, axis=1), np.diff(made, axis=2)
    np.testing.assert_allclose(terms["student"]["tv"], mean(down**2) + mean(right**2), rtol=1e-5)


class Records:
    """A function of image and style that keeps the styles that it is given."""

    def __init__(self):
        self.styles = []

    def __call__(self, image, style=None):
        if not isinstance(style, jax.core.Tracer):
            self.styles.append(None if style is None else np.asarray(style).tolist())
        return image if style is None else image + 0.01 * style[:, None, None, None]


@pytest.mark.parametrize("count", [2, 7])  # fewer styles than examples, and more
def test_each_example_is_painted_and_judged_in_its_own_style(count):
    modules = {"student": small.Stylises(count), "critic": MODULES["critic"], "style_images": small.styles(count)}
    terms, players = played("style", {"style": ("hidden",), "styles": count}, modules, BATCH)
    drawn = jax.random.randint(game.fold_in_name(jax.random.key(2), "style"), (3,), 0, count)
    (x,) = features(players.critic, players.student(BATCH["image"], drawn), "hidden")
    (y,) = features(players.critic, players.style_images()[drawn], "hidden")
    np.testing.assert_allclose(terms["student"]["style"], style.style([x], [style.gram(y)]), rtol=1e-5)


def test_the_teacher_paints_in_the_same_style_by_its_own_numbers():
    teacher = Records()
    modules = {"student": small.Stylises(3), "teacher": Function(teacher)}
    played("style", {"pixel": "l1", "styles": 3, "teacher_styles": (7, 0, 19)}, modules, BATCH)
    drawn = jax.random.randint(game.fold_in_name(jax.random.key(2), "style"), (3,), 0, 3)
    assert teacher.styles[-1] == np.array([7, 0, 19])[drawn].tolist()
    one = Records()
    played("style", {"pixel": "l1", "teacher_styles": (7,)}, {**modules, "teacher": Function(one)}, BATCH)
    assert one.styles[-1] == [7, 7, 7]
    none = Records()
    played("style", {"pixel": "l1"}, {**modules, "teacher": Function(none)}, BATCH)
    assert none.styles[-1] is None


@pytest.mark.parametrize(
    ("name", "hyperparameters", "words"),
    [
        ("restore", {"loss": "huber"}, "method.loss = 'huber': accepted are l1, l2, charbonnier"),
        ("restore", {"targets": "noisy"}, "method.targets = 'noisy': accepted are clean, again, half"),
        ("restore", {"on": "test"}, "method.on = 'test': accepted are labelled, others, all"),
        ("restore", {"scale": 1}, "method.scale = 1: a whole number of 2 to 16"),
        ("restore_distill", {"loss": "huber"}, "method.loss = 'huber'"),
        ("restore_distill", {"relation": "instance"}, "method.relation = 'instance': accepted are spatial, channel"),
        ("restore_distill", {"perceptual_loss": "kl"}, "method.perceptual_loss = 'kl': accepted are l2, l1"),
        ("restore_distill", {"adversarial": "nonsense"}, "method.adversarial = 'nonsense': accepted are nonsat"),
        ("restore_distill", {"perceptual": "body"}, "method.perceptual = 'body': paths of modules"),
        ("style", {"adversarial": "nonsense"}, "method.adversarial = 'nonsense'"),
        ("gan", {"loss": "nonsense"}, "method.loss = 'nonsense': accepted are nonsat"),
        ("restore_distill", {"clean": False, "pixels": False}, "nothing is learned"),
        ("style", {}, "nothing is learned"),
        ("style", {"pixel": "huber"}, "method.pixel = 'huber'"),
        ("style", {"pixel": "l1", "styles": 0}, "method.styles = 0"),
        ("style", {"pixel": "l1", "styles": 2, "teacher_styles": (1,)}, "one for each of the 2 styles"),
    ],
)
def test_choices_are_refused(name, hyperparameters, words):
    with pytest.raises(ValueError, match=words):
        methods.build(name, **hyperparameters)


def shorter(batch):
    return {**without(batch, "unlabelled"), "target": batch["target"][:, :3]}


@pytest.mark.parametrize(
    ("name", "hyperparameters", "change", "words"),
    [
        ("restore", {}, lambda b: without(b, "target"), "the batch has no 'target', the clean .* it holds again, image"),
        ("restore", {"targets": "again"}, lambda b: without(b, "again"), "no 'again', the images with another noise"),
        ("restore", {"on": "others"}, lambda b: without(b, "unlabelled"), "method.on = 'others' needs data.unlabelled_b"),
        ("restore", {"targets": "half", "scale": 3}, lambda b: b, "method.scale = 3: it does not divide .* 4×4"),
        ("restore", {"targets": "half"}, lambda b: b, "student makes images of 2×2×1 of images of 2×2×1, .* have 4×4×1"),
        ("restore", {}, shorter, "makes images of 4×4×1 of .* have 3×4×1"),
        ("restore_distill", {}, shorter, r"\(the target\) have 3×4×1"),
        ("style", {"style": ("hidden",), "styles": 2}, lambda b: b, "players.style_images has 1 images"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused_from_shapes(name, hyperparameters, change, words):
    modules = {
        **MODULES,
        "style_images": small.styles(),
        "student": small.Stylises(2) if name == "style" else small.Restores(),
    }
    with pytest.raises(ValueError, match=words):
        game.inspect_method(methods.build(name, **hyperparameters), modules, change(BATCH))
