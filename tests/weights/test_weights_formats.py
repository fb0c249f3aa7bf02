"""Files and folders of weights by what is in them: each gives the same variables of a small network with batch norm."""

import json

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax import linen as nn
from flax import serialization

import torch_zip
from kdgan import weights
from kdgan.run.checkpoint import Checkpoints


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Conv(3, (3, 3), name="conv")(x)
        x = nn.BatchNorm(use_running_average=not train, name="bn")(x).mean((1, 2))
        return nn.Dense(5, name="head")(x)


EXAMPLE = (1, 4, 4, 2)


@pytest.fixture(scope="module")
def variables():
    shapes = jax.eval_shape(Net().init, jax.random.key(0), jnp.zeros(EXAMPLE))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), dict(shapes))


def flat(tree, separator):
    return {
        jax.tree_util.keystr(path, simple=True, separator=separator): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def pytorch(variables):
    params, stats = variables["params"], variables["batch_stats"]["bn"]
    return {
        "conv.weight": params["conv"]["kernel"].transpose(3, 2, 0, 1).copy(), "conv.bias": params["conv"]["bias"],
        "bn.weight": params["bn"]["scale"], "bn.bias": params["bn"]["bias"],
        "bn.running_mean": stats["mean"], "bn.running_var": stats["var"],
        "fc.weight": params["head"]["kernel"].T.copy(), "fc.bias": params["head"]["bias"],
    }  # fmt: skip


def msgpack(path, variables):
    path.write_bytes(serialization.to_bytes(variables))


def training_state(path, variables):
    state = {
        "step": 3,
        **variables,
        "opt_state": {"0": {"mu": variables["params"], "nu": variables["params"]}, "1": {}},
    }
    path.write_bytes(serialization.msgpack_serialize(state))


def by_player(path, variables):
    twice = jax.tree.map(lambda leaf: leaf + 1, variables)
    tree = {kind: {"teacher": variables[kind], "student": twice[kind]} for kind in variables}
    path.write_bytes(serialization.msgpack_serialize(tree))


def merged(path, variables):
    leaves = {**flat(variables["params"], "."), **flat(variables["batch_stats"], ".")}
    np.savez(path.with_suffix(".npz"), **leaves)
    path.with_suffix(".npz").rename(path)


def npz(separator):
    def write(path, variables):
        with open(path, "wb") as file:
            np.savez(file, **flat(variables, separator))

    return write


def npz_of_pytorch(path, variables):
    with open(path, "wb") as file:
        np.savez(file, **pytorch(variables))


def standard(path, variables):
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path, variables)


def pytree(path, variables):
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        checkpointer.save(path, {"model": {**variables, "step": np.int32(4)}})


def manager(path, variables):
    wrong = jax.tree.map(lambda leaf: leaf + 1, variables)
    with ocp.CheckpointManager(path) as checkpoints:
        for step, tree in ((9, wrong), (10, variables)):
            checkpoints.save(step, args=ocp.args.StandardSave(tree))
        checkpoints.wait_until_finished()


def checkpoint(path, variables):
    tree = {kind: {"teacher": own} for kind, own in variables.items()}
    with Checkpoints(path) as checkpoints:
        checkpoints.save(
            1, {"params": tree["params"], "model_state": {"teacher": {"batch_stats": variables["batch_stats"]}}}
        )


def workdir(path, variables):
    stacked = jax.tree.map(lambda leaf: np.stack([leaf, leaf + 1]), variables)
    state = {
        "params": {"teacher": stacked["params"], "student": {"x": np.zeros((2, 3))}}, "step": np.zeros(2, np.int32),
        "model_state": {"teacher": {"batch_stats": stacked["batch_stats"]}},
    }  # fmt: skip
    with Checkpoints(path / "checkpoints" / "train") as checkpoints:
        checkpoints.save(1, {"main": {"state": state}}, metadata={"seeds": [4, 5]})
    (path / "config.json").write_text(json.dumps({}))


FORMS = {
    "msgpack": msgpack, "msgpack of a training state": training_state, "msgpack by player": by_player,
    "npz with slashes": npz("/"), "npz with dots": npz("."), "npz without collections": merged,
    "npz of pytorch": npz_of_pytorch, "pth": lambda path, own: torch_zip.state_dict(path, pytorch(own)),
    "orbax, standard": standard, "orbax, inside a state": pytree, "orbax, the last step of a manager": manager,
    "a checkpoint": checkpoint, "a workdir": workdir,
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning:orbax")
@pytest.mark.parametrize("form", FORMS)
def test_each_form_gives_the_variables_that_were_written(form, variables, tmp_path):
    path = tmp_path / "weights.bin"  # the name says nothing
    FORMS[form](path, variables)
    player = "teacher" if form == "msgpack by player" else None
    read = weights.load(path, Net(), EXAMPLE, player=player)
    jax.tree.map(np.testing.assert_array_equal, read, variables)
    # Nobody has to say how large images are, where the file's channels do.
    jax.tree.map(np.testing.assert_array_equal, weights.load(path, Net(), player=player), variables)


@pytest.mark.extra("safetensors")
@pytest.mark.parametrize("names", ["flax", "pytorch"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
def test_safetensors_of_every_type(names, dtype, variables, tmp_path):
    from safetensors.numpy import save_file

    cast = jax.tree.map(lambda leaf: leaf.astype(dtype), variables)
    save_file(flat(cast, ".") if names == "flax" else pytorch(cast), tmp_path / "w")
    read = weights.load(tmp_path / "w", Net(), EXAMPLE)
    jax.tree.map(np.testing.assert_array_equal, read, jax.tree.map(lambda leaf: leaf.astype(np.float32), cast))


def test_half_precision_in_an_npz(variables, tmp_path):
    cast = jax.tree.map(lambda leaf: leaf.astype(ml_dtypes.bfloat16), variables)
    np.savez(tmp_path / "w.npz", **flat(cast, "/"))
    read = weights.load(tmp_path / "w.npz", Net(), EXAMPLE)
    jax.tree.map(np.testing.assert_array_equal, read, jax.tree.map(lambda leaf: leaf.astype(np.float32), cast))


def test_safetensors_without_the_package_is_one_line(variables, tmp_path, monkeypatch):
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    monkeypatch.setitem(__import__("sys").modules, "safetensors", None)
    with pytest.raises(
        ValueError, match=r'reading x\.safetensors needs the package safetensors: pip install -e "\.\[safet'
    ):
        weights.load(tmp_path / "x.safetensors", Net(), EXAMPLE)


@pytest.mark.extra("safetensors")
@pytest.mark.parametrize("change", [
    lambda raw: raw[:-1], lambda raw: raw + b"x", lambda raw: raw.replace(b'"F32"', b'"F99"', 1),
    lambda raw: raw.replace(b"[0,12]", b"[0,99]", 1), lambda raw: raw.replace(b"[5]", b"[6]", 1),
])  # fmt: skip
def test_damaged_safetensors(change, variables, tmp_path):
    from safetensors.numpy import save

    raw = save(pytorch(variables))
    assert change(raw) != raw
    (tmp_path / "w").write_bytes(change(raw))
    with pytest.raises(ValueError, match="it is a damaged safetensors file") as error:
        weights.load(tmp_path / "w", Net(), EXAMPLE)
    assert "\n" not in str(error.value)


def test_a_member_and_a_player_of_a_run_are_named(variables, tmp_path):
    workdir(tmp_path, variables)
    second = weights.load(tmp_path, Net(), EXAMPLE, member=5, player="teacher")
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b + 1), second, variables)
    with pytest.raises(ValueError, match="member = 7: it has the members 4, 5"):
        weights.load(tmp_path, Net(), EXAMPLE, member=7, player="teacher")
    with pytest.raises(ValueError, match="no stage has a player 'nobody'"):
        weights.load(tmp_path, Net(), EXAMPLE, player="nobody")
    by_player(tmp_path / "two", variables)
    with pytest.raises(ValueError, match="several of its parts have these parameters"):
        weights.load(tmp_path / "two", Net(), EXAMPLE)


def test_parameters_without_their_statistics_are_refused(variables, tmp_path):
    path = tmp_path / "w"
    msgpack(path, variables["params"])
    with pytest.raises(ValueError, match=r"w: it has no batch_stats, which Net needs$"):
        weights.load(path, Net(), EXAMPLE)
    found, _ = weights.fit(weights.read(path), Net(), EXAMPLE, partial=True)
    assert set(found) == {"params"}


def test_what_a_tree_lacks_is_named(variables, tmp_path):
    params = {**variables["params"], "haed": variables["params"]["head"], "conv": {"kernel": np.zeros((3, 3, 1, 3))}}
    del params["head"]
    msgpack(tmp_path / "w", {**variables, "params": params})
    with pytest.raises(
        ValueError, match=r"its parameters do not fit Net: of another shape: conv/kernel wants"
    ) as error:
        weights.load(tmp_path / "w", Net(), EXAMPLE)
    text = str(error.value)
    assert "missing: conv/bias" in text
    assert "head/bias (the nearest name is 'haed/bias')" in text
    assert "left over: haed/bias, haed/kernel" in text


def test_class_counts_that_differ_are_named(variables, tmp_path):
    head = {"kernel": np.zeros((3, 100), np.float32), "bias": np.zeros(100, np.float32)}
    msgpack(tmp_path / "w", {**variables, "params": {**variables["params"], "head": head}})
    with pytest.raises(ValueError, match=r"head/kernel wants \[3, 5\], it has \[3, 100\]: 100 classes there, 5 here"):
        weights.load(tmp_path / "w", Net(), EXAMPLE)


@pytest.mark.parametrize(("make", "message"), [
    (lambda path: None, "there is no such file or folder"),
    (lambda path: path.mkdir(), "there are no weights in this folder"),
    (lambda path: (path / "00000001").mkdir(parents=True), "none of its players fits|no whole checkpoint"),
])  # fmt: skip
def test_what_is_not_there_is_said_so(make, message, tmp_path):
    make(tmp_path / "w")
    with pytest.raises(ValueError, match=message) as error:
        weights.load(tmp_path / "w", Net(), EXAMPLE)
    assert str(error.value).startswith(f"{tmp_path / 'w'}: ")


def test_names_and_members_are_of_other_files(variables, tmp_path):
    msgpack(tmp_path / "w", variables)
    with pytest.raises(ValueError, match="these are Flax's"):
        weights.load(tmp_path / "w", Net(), EXAMPLE, names={"conv": "c"})
    with pytest.raises(ValueError, match="arm and member are of a run's checkpoints; this is none"):
        weights.load(tmp_path / "w", Net(), EXAMPLE, member=1)


def test_what_a_module_is_called_with_is_asked_for_where_it_cannot_be_told(tmp_path):
    class Two(nn.Module):
        @nn.compact
        def __call__(self, x, y, train=False):
            return nn.Dense(3, name="a")(x) + nn.Dense(3, name="b")(y)

    shapes = jax.eval_shape(Two().init, jax.random.key(0), jnp.zeros((1, 2)), jnp.zeros((1, 4)))
    own = jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), dict(shapes))
    msgpack(tmp_path / "w", own)
    with pytest.raises(ValueError, match="what Two is called with cannot be told from the file: give example="):
        weights.load(tmp_path / "w", Two())
    read = weights.load(tmp_path / "w", Two(), (jnp.zeros((1, 2)), jnp.zeros((1, 4))))
    jax.tree.map(np.testing.assert_array_equal, read, own)


def test_a_module_may_read_a_state_dict_itself(tmp_path):
    class Own(nn.Module):
        def from_state_dict(self, state):
            return {"params": {"n": np.array(sum(map(np.size, state.values())))}, "buffers": {}}

    path = torch_zip.state_dict(tmp_path / "w.pth", {"a.weight": np.ones((2, 3), np.float32)})
    assert weights.load(path, Own())["params"]["n"] == 6


def test_the_map_is_printed(variables, tmp_path, capsys):
    torch_zip.state_dict(tmp_path / "w", pytorch(variables))
    weights.load(tmp_path / "w", Net(), EXAMPLE, show=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "PyTorch .pth: 3 layers, 2 by name, 1 by shape"
    assert [line.split()[:3] for line in lines[1:]] == [
        ["conv", "<-", "conv"],
        ["bn", "<-", "bn"],
        ["head", "<-", "fc"],
    ]
