"""KDGAN's table: its parts, the trials of its search, and what of them is recorded."""

import collections
import itertools
import json

import pytest

import tiny  # noqa: F401 - makes configs importable
from configs import kdgan_cifar10, kdgan_mnist, kdgan_rows, kdgan_search
from kdgan import report
from kdgan.run import build, inputs, train
from kdgan.run.config import ConfigError, resolve


@pytest.mark.parametrize("part", kdgan_rows.PARTS)
@pytest.mark.parametrize(("config", "n"), [(kdgan_mnist, 1_000), (kdgan_cifar10, 500)])
def test_every_part_resolves(config, n, part):
    run = resolve(config.get_config(f"n={n},part={part}"))
    assert run.data.labelled == (n * 4 // 5 if part == "search" else n)
    assert bool(run.data.augment) == (part != "plain")


def test_every_row_runs_and_stands_beside_what_is_published(tmp_path):
    config = kdgan_mnist.get_config("n=100")
    config.data.name, config.data.labelled, config.data.validation = "digits", 20, 10
    for player in ("teacher", "discriminator"):
        config.players[player] = dict(model="mlp", model_args=dict(hidden=(8,)))  # compiles in half the time
    config.players.student.model_args.hidden = (4,)
    config.stage.steps, config.stage.batch_size, config.population.seeds = 2, 4, 1
    config.evaluate.every, config.evaluate.latency, config.checkpoint.every = 2, False, 2
    config.log.progress = config.log.tensorboard = False
    summary = train.train(config, tmp_path)
    arms = summary["stages"]["table"]["arms"]
    teachers = {row: arms[row]["players"].get("teacher", {}).get("nll", {}).get("mean") for row in arms}
    pretrained = summary["stages"]["teacher"]["arms"]["main"]["players"]["teacher"]["nll"]["mean"]
    assert {row for row, nll in teachers.items() if nll == pretrained} == {"kd", "mimic", "noisy"}  # it is frozen
    assert {row for row, nll in teachers.items() if nll not in (None, pretrained)} == {"codis", "kdgan", "kdgan_ce"}
    flops = {row: arms[row]["train_flops"] for row in arms}
    assert flops["scratch"] < flops["kd"] < flops["nagan"] < flops["kdgan"]
    (row,) = (line for line in report.text(tmp_path).splitlines() if "77.95 ± 0.05" in line)
    assert "kdgan" in row


@pytest.mark.parametrize("row", kdgan_rows.ROWS)
def test_any_row_can_stand_alone(row):
    config = kdgan_mnist.get_config(f"n=100,rows={row}")
    config.data.name, config.data.labelled, config.data.validation = "digits", 20, 10
    run = resolve(config)
    build.all_programs(run, inputs.load(run))


def test_rows_of_a_table_are_updated_equally_often_on_the_same_images():
    table = resolve(kdgan_mnist.get_config("n=100")).stages[-1]
    assert [arm.name for arm in table.arms] == [row for row in kdgan_rows.ROWS if row != "teacher"]
    assert len({(arm.steps, arm.batch_size, str(arm.augment)) for arm in table.arms}) == 1
    assert all("student" not in arm.start for arm in table.arms)


def test_kdgan_is_published_without_cross_entropy_and_its_weights_are_the_equation_s():
    chosen = {**kdgan_rows.trials("kdgan")[0], "alpha": 0.3, "beta": 2.0, "gamma": 0.01}
    lambdas = kdgan_rows.ROWS["kdgan"](chosen)["lambdas"]
    assert lambdas == {
        "discriminator": {"real": 1.0, "student": 0.3, "teacher": 0.7},
        "teacher": {"ce": 0.0, "kd": 0.01, "adv": 0.7},
        "student": {"ce": 0.0, "kd": 2.0, "adv": 0.3},
    }


@pytest.mark.parametrize("row", kdgan_rows.ROWS)
def test_every_row_has_equally_many_trials_spread_evenly_over_its_space(row):
    trials = kdgan_rows.trials(row)
    assert len(trials) == kdgan_rows.TRIALS
    assert trials == kdgan_rows.trials(row)
    for name, values in kdgan_rows.SPACES[row].items():
        counts = collections.Counter(trial[name] for trial in trials)
        assert set(counts) <= set(values)
        assert max(counts.values()) - min(counts[value] for value in values) <= 1
    if kdgan_rows.SPACES[row] is kdgan_rows.SPACES["scratch"]:
        assert {tuple(trial.values()) for trial in trials} == set(itertools.product(*kdgan_rows.SPACES[row].values()))


def test_a_search_never_opens_the_test_set():
    run = resolve(kdgan_mnist.get_config("n=100,part=search"))
    assert (run.data.train, run.data.test) == ("train[:-1000]", "train[-1000:]")
    assert run.data.labelled + run.data.validation == 100
    assert run.seed not in resolve(kdgan_mnist.get_config("n=100")).seeds


def leaves(tree, path=()):
    """Path -> value of every leaf of nested dicts."""
    if not isinstance(tree, dict) or not tree:
        return {".".join(path): tree}
    return {name: leaf for key, inside in tree.items() for name, leaf in leaves(inside, (*path, key)).items()}


def test_an_ablation_changes_one_thing():
    student, teacher = "lambdas.student.adv", "lambdas.teacher.adv"
    touched = {
        "no_adv_student": {student},
        "no_adv_teacher": {teacher},
        "no_adv_student_teacher": {student, teacher},
        "alpha": {student, teacher, "lambdas.discriminator.student", "lambdas.discriminator.teacher"},
        "beta": {"lambdas.student.kd"},
        "gamma": {"lambdas.teacher.kd"},
        "tau": {"method.concrete_temperature"},
        "labels": {"method.labels"},
    }
    arms = kdgan_mnist.get_config("n=100,part=ablation").stages.ablation.arms.to_dict()
    seen = set()
    for name, arm in arms.items():
        if name.endswith("_long") or name in ("kdgan", "kdgan_ce"):
            continue
        base = "kdgan" if name.startswith("kdgan_no") else "kdgan_ce"
        changed = name.removeprefix(f"{base}_")
        kind = changed if changed in touched else changed.split("_")[0]
        a, b = leaves(arm), leaves(arms[base])
        differing = [path for path in a | b if a.get(path) != b.get(path)]
        assert all(path.startswith(tuple(touched[kind])) for path in differing), name
        assert all(any(path.startswith(own) for path in differing) for own in touched[kind]), name
        seen.add(kind)
    assert seen == set(touched)
    assert arms["kdgan_ce_no_adv_student"]["lambdas"]["student"]["adv"] == 0.0


def test_an_ablation_s_arms_can_be_named():
    config = kdgan_mnist.get_config("n=100,part=ablation,rows=kdgan_ce+kdgan_ce_no_adv_student+kd_long")
    assert list(config.stages.ablation.arms) == ["kdgan_ce", "kdgan_ce_no_adv_student", "kd_long"]
    with pytest.raises(ValueError, match=r"no row 'kd'; there are kdgan_ce, kdgan_ce_no_adv_student, .*, codis_long"):
        kdgan_mnist.get_config("n=100,part=ablation,rows=kd")


def test_unlabelled_images_are_for_rows_that_can_use_them():
    config = kdgan_mnist.get_config("n=100,part=unlabelled,rows=scratch+mimic+kdgan")
    arms = config.stages.table.arms
    assert [arm for arm in arms if arms[arm].method.get("unlabelled")] == ["mimic", "kdgan"]
    with pytest.raises(ValueError, match="no row 'codis'; there are scratch, kd, mimic, noisy, kdgan, kdgan_ce"):
        kdgan_mnist.get_config("n=100,part=unlabelled,rows=codis")


def test_the_recorded_trials_are_those_that_the_config_draws():
    for sizes in kdgan_search.read().values():
        for rows in sizes.values():
            for row, recorded in rows.items():
                own = [{k: v for k, v in t.items() if k not in kdgan_search.JUDGES} for t in recorded]
                assert own == kdgan_rows.trials(row)


def test_without_the_record_of_the_search_there_is_no_table(tmp_path, monkeypatch):
    monkeypatch.setattr(kdgan_search, "FILE", tmp_path / "kdgan_search.json")
    with pytest.raises(FileNotFoundError, match=r"kdgan_search\.json"):
        kdgan_mnist.get_config("n=100")


def test_a_table_names_the_rows_whose_hyper_parameters_were_not_searched_for(tmp_path, monkeypatch):
    monkeypatch.setattr(kdgan_search, "FILE", tmp_path / "search.json")
    judged = lambda row: [dict(trial, extra=[0.5, 1.0], fifth=[0.5, 1.0]) for trial in kdgan_rows.trials(row)]
    for searched, said in (
        ((), "not searched for on CIFAR-10: teacher, scratch, kd"),
        (("teacher", "kd"), "not searched for on CIFAR-10: scratch"),
        (("teacher", "scratch", "kd"), None),
    ):
        kdgan_search.FILE.write_text(json.dumps({"cifar10": {"500": {row: judged(row) for row in searched}}}))
        source = kdgan_cifar10.get_config("n=5000,rows=scratch+kd").report.source
        assert source.endswith(said) if said else "not searched" not in source


def test_the_best_trial_by_either_judge():
    trials = [
        {"rate": 1, "extra": [0.8, 0.5], "fifth": [1.0, 0.4]},
        {"rate": 2, "extra": [0.9, 0.6], "fifth": [1.0, 0.3]},
        {"rate": 3, "extra": [0.7, 0.1], "fifth": [0.9, 0.1]},
    ]
    assert kdgan_search.best(trials, "extra") == {"rate": 2}
    assert kdgan_search.best(trials, "fifth") == {"rate": 2}  # equal accuracy: the lower NLL


def test_a_search_is_recorded_from_its_files(tmp_path, monkeypatch):
    arms = {
        f"trial{i}": {"players": {"student": {"accuracy": {"mean": i / 10}, "nll": {"mean": 1.0}}}}
        for i in range(kdgan_rows.TRIALS)
    }
    (tmp_path / "summary.json").write_text(
        json.dumps({"stages": {"teacher": {"arms": {}}, "search_kd": {"arms": arms}}})
    )
    lines = [
        {
            "stage": "search_kd", "arm": f"trial{i}", "split": split, "step": step,
            "student/accuracy": step / 100, "student/nll": i,
        }
        for step in (50, 100) for i in range(kdgan_rows.TRIALS) for split in ("train", "validation")
    ]  # fmt: skip
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    monkeypatch.setattr(kdgan_search, "FILE", tmp_path / "search.json")
    rows = kdgan_search.record("mnist", 100, [tmp_path])
    assert rows["kd"][3]["extra"] == [0.3, 1.0]
    assert rows["kd"][3]["fifth"] == [1.0, 3]
    assert kdgan_search.read()["mnist"]["100"]["kd"] == rows["kd"]
    chosen = kdgan_search.chosen("mnist", 100)
    assert chosen["kd"] == kdgan_rows.trials("kd")[-1]
    assert chosen["mimic"] == kdgan_rows.trials("mimic")[0]  # not searched
    assert kdgan_search.chosen("mnist", 1_000)["kd"] == chosen["kd"]  # nor this n
    assert kdgan_search.chosen("cifar10", 500)["kd"] == kdgan_rows.trials("kd")[0]  # nor this data set


@pytest.mark.parametrize(
    ("arguments", "said"),
    [("n=7", "accepted are 100, 1000, 10000"), ("size=7", "no argument 'size'"), ("rows=kd+foo", "no row 'foo'")],
)
def test_arguments_are_checked(arguments, said):
    with pytest.raises(ValueError, match=said):
        kdgan_mnist.get_config(arguments)


def test_published_numbers_name_an_arm():
    config = kdgan_mnist.get_config("n=100")
    config.report.published.table.kdgann = "1"
    with pytest.raises(ConfigError, match=r"report\.published\.table\.kdgann.*did you mean 'kdgan'"):
        resolve(config)
