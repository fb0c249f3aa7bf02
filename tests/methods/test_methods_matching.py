"""DKD, DIST, MLKD and CTKD on logits by hand; z-scores of logits before any loss; which way the temperature moves."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import softmax

import tables
from kdgan import methods, models, reference
from kdgan.methods.published import PUBLISHED

RNG = np.random.default_rng(0)
S, T = (RNG.normal(scale=2, size=(6, 4)).astype(np.float32) for _ in range(2))
LABELS = np.array([0, 2, 1, 3])
PLAYERS = {"student": tables.table(S), "teacher": tables.table(T)}
LABELLED = tables.batch(LABELS)
BOTH = tables.batch(LABELS, unlabelled=2)


def terms(name, given=LABELLED, players=PLAYERS, **arguments):
    return tables.terms(methods.build(name, **arguments), players, given)[0]


def z(x):
    x = np.float64(x)
    return (x - x.mean(-1, keepdims=True)) / (x.std(-1, ddof=1, keepdims=True) + 1e-7)


def test_z_scores_stand_in_place_of_logits():
    mixed = {"student": tables.table(S), "teacher": tables.table(100 + 7 * T)}
    for players in (PLAYERS, mixed):
        scores = terms("kd", players=players, standardised=True, temperature=2.0, teacher_temperature=3.0)["kd"]
        p, q = softmax(z(T[:4]) / 3, -1), softmax(z(S[:4]) / 2, -1)
        np.testing.assert_allclose(scores, 4 * (p * np.log(p / q)).sum(-1), rtol=1e-4)
        found = terms("mimic", players=players, standardised=True)["mimic"]
        np.testing.assert_allclose(found, 0.5 * ((z(S) - z(T))[:4] ** 2).sum(-1), rtol=1e-4)
        p, q = (1 / (1 + np.exp(-z(x)[:4])) for x in (T, S))
        found = terms("logistic", players=players, standardised=True)["logistic"]
        np.testing.assert_allclose(found, -(p * np.log(q) + (1 - p) * np.log(1 - q)).sum(-1), rtol=1e-4)


@pytest.mark.parametrize("name", ["kd", "logistic", "mimic", "dist", "mlkd", "dkd", "ctkd"])
def test_two_classes_have_no_z_scores(name):
    two = {"student": tables.table(S[:, :2]), "teacher": tables.table(T[:, :2]), "temperature": models.Temperature()}
    with pytest.raises(ValueError, match=r"^method.standardised = True: 2 classes;"):
        terms(name, tables.batch([0, 1, 1]), two, standardised=True)
    with pytest.raises(ValueError, match=f"^method.label_kind = 'tags': {name} accepts class"):
        methods.build(name, standardised=True, label_kind="tags")


@pytest.mark.parametrize("name", ["dkd", "dist"])
def test_two_classes_are_refused_by_the_methods_name(name):
    two = {"student": tables.table(S[:, :2]), "teacher": tables.table(T[:, :2])}
    with pytest.raises(ValueError, match=f"^method.name = '{name}': 2 classes; it accepts 3 or more"):
        terms(name, tables.batch([0, 1, 1]), two)


def test_what_is_no_temperature_is_refused():
    for value in (float("inf"), True):
        with pytest.raises(ValueError, match=f"^method.temperatures = .{value},.: one positive number"):
            methods.build("mlkd", temperatures=(value,))
    players = {"student": tables.table(S), "teacher": tables.table(T), "temperature": models.InstanceTemperature()}
    with pytest.raises(ValueError, match=r"^players.temperature .InstanceTemperature. cannot take inputs of shape"):
        terms("ctkd", players=players)


def test_dkd_is_soft_labels_in_two_terms():
    found = terms("dkd", temperature=3.0)
    assert set(found) == {"ce", "target", "others"}
    sure = softmax(np.float64(T[:4]) / 3, -1)[np.arange(4), LABELS]
    np.testing.assert_allclose(found["target"] + (1 - sure) * found["others"], tables.kl(T, S, 3.0)[:4], rtol=1e-4)
    apart = [np.delete(x[i], LABELS[i]) for x in (T, S) for i in range(4)]
    np.testing.assert_allclose(found["others"], tables.kl(apart[:4], apart[4:], 3.0), rtol=1e-4)


def test_dkd_learns_from_labelled_examples_alone():
    with pytest.raises(ValueError, match=r"method.unlabelled = True: dkd learns from labelled examples alone"):
        methods.build("dkd", unlabelled=True)
    given = {**LABELLED, "label": np.eye(4, dtype=np.float32)}
    with pytest.raises(ValueError, match=r"method.name = 'dkd' asks for one class"):
        terms("dkd", given)
    parts = terms("combine", BOTH, parts=("kd", "dkd"), unlabelled=True)
    assert {name: value.shape for name, value in parts.items()} == {
        "ce": (4,),
        "kd": (6,),
        "target": (4,),
        "others": (4,),
    }


def test_dist_is_one_less_the_correlation_over_classes_and_over_the_batch():
    found = terms("dist", BOTH, temperature=2.0, unlabelled=True)
    q, p = softmax(np.float64(S) / 2, -1), softmax(np.float64(T) / 2, -1)
    rho = lambda x, y: np.array([np.corrcoef(a, b)[0, 1] for a, b in zip(x, y, strict=True)])
    np.testing.assert_allclose(found["inter"], 1 - rho(q, p), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["intra"], (1 - rho(q.T, p.T)).mean(), rtol=1e-4)


def test_mlkd_adds_up_over_temperatures():
    found = terms("mlkd", temperatures=(1.0, 4.0))
    wanted = dict.fromkeys(("kd", "batch", "classes"), 0.0)
    for temperature in (1.0, 4.0):
        q, p = (softmax(np.float64(x[:4]) / temperature, -1) for x in (S, T))
        wanted["kd"] += tables.kl(T, S, temperature)[:4]
        wanted["batch"] += ((q @ q.T - p @ p.T) ** 2).sum() / 4
        wanted["classes"] += ((q.T @ q - p.T @ p) ** 2).sum() / 4
    for term, value in wanted.items():
        np.testing.assert_allclose(found[term], value, rtol=1e-4)
    with pytest.raises(ValueError, match=r"method.temperatures = \(1.0, 0\): one positive number"):
        methods.build("mlkd", temperatures=(1.0, 0))


def of_temperature(g):
    """CTKD's loss, mean over the batch, at g."""
    return tables.kl(T, S, 1 + 20 / (1 + np.exp(-g)))[:4].mean()


def test_the_temperature_climbs_where_the_student_descends():
    players = {**PLAYERS, "temperature": models.Temperature(start=-2.0)}
    reversal = optax.linear_schedule(0.0, 0.5, 1)
    method = methods.build("ctkd", reversal=reversal)
    slope = (of_temperature(-2 + 1e-5) - of_temperature(-2 - 1e-5)) / 2e-5
    first, metrics, start = tables.stepped(method, players, LABELLED, rate=0.1, ce=0.0)
    np.testing.assert_allclose(metrics["student/kd"], of_temperature(-2.0), rtol=1e-4)
    assert float(first.params["temperature"]["g"]) == -2.0  # reversed by 0
    again = start.replace(step=start.step + 1)
    second, _, _ = tables.stepped(method, players, LABELLED, start=again, rate=0.1, ce=0.0)
    moved = float(second.params["temperature"]["g"]) + 2
    np.testing.assert_allclose(moved, 0.1 * 0.5 * slope, rtol=1e-2)
    assert slope * moved > 0
    learned = second.params["student"]["logits"][:4]
    tau = 1 + 20 / (1 + np.exp(2))
    assert tables.kl(T[:4], learned, tau).mean() < of_temperature(-2.0)
    np.testing.assert_array_equal(second.params["teacher"]["logits"], T)


def test_a_temperature_for_each_example():
    module = models.InstanceTemperature(hidden=3, start=-2.0)
    players = {**PLAYERS, "temperature": module}
    found, bound = tables.terms(methods.build("ctkd", instance=True), players, LABELLED)
    params = jax.tree.map(lambda leaf: leaf + 0.3, bound.temperature.params)
    tau = module.apply({"params": params}, *map(jnp.asarray, (S[:4], T[:4])))
    assert np.ptp(tau) > 0.1
    bound.temperature.params = params
    again = methods.build("ctkd", instance=True, labels=False).moves[0].terms(bound, LABELLED, None)
    for kd, each in ((found["kd"], [1 + 20 / (1 + np.exp(2))] * 4), (again["kd"], tau)):
        wanted = [tables.kl(t, s, one) for t, s, one in zip(T[:4], S[:4], np.asarray(each), strict=True)]
        np.testing.assert_allclose(kd, wanted, rtol=1e-4)


def test_a_gradient_is_not_reversed_twice():
    with pytest.raises(ValueError, match=r"method.reversal = -1\.0: a number of at least 0"):
        methods.build("ctkd", reversal=-1.0)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_weights_are_of_the_terms_that_a_method_has(name):
    method = methods.build(name, **reference.ASKED.get(name, {}))
    found = reference._inspect(name, method).terms
    published = {lead: set(terms) for lead, terms in PUBLISHED[name].items()}
    terms = {lead: set(of_lead) for lead, of_lead in found.items()}
    assert published == terms or {**published, "student": published["student"] | {"ce"}} == terms
