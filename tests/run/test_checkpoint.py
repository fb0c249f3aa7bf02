"""Checkpoints come back bitwise, on other devices; what stays of them; and process 0 writes them alone."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import textwrap
import warnings

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest
from flax import struct
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from kdgan.run import checkpoint
from kdgan.run.checkpoint import Checkpoints, DamagedCheckpointError
from same import assert_same

ROOT = pathlib.Path(checkpoint.__file__).parents[2]


@struct.dataclass
class State:
    step: object
    params: object
    opt_state: object


def everything():
    params = {"a": {"kernel": jnp.arange(6.0).reshape(2, 3), "bias": jnp.ones(3, jnp.bfloat16)}, "b": [jnp.zeros(2)]}
    chain = optax.chain(optax.clip_by_global_norm(1.0), optax.masked(optax.adamw(1e-3), {"a": True, "b": [False]}))
    return {
        "state": State(jnp.int32(7), params, optax.MultiSteps(chain, 2).init(params)),
        "keys": {"one": jax.random.key(3), "several": jax.random.split(jax.random.key(1, impl="rbg"), 2)},
        "nothing": {}, "deeper": {"nothing": {}, "none": None},
        "numbers": (3, 1.5, True, np.float64(2.5), np.array(7, np.int64)),
        "arrays": [np.zeros((0, 3)), np.array([np.nan, -0.0, np.inf]), np.arange(4)[::2], np.asfortranarray(np.eye(3))],
        "small": [np.ones(3, ml_dtypes.int4), np.ones(3, ml_dtypes.float8_e4m3fn), np.array([True, False])],
        "complex": np.array([1 + 2j], np.complex64),
    }  # fmt: skip


def test_everything_comes_back_bitwise(tmp_path):
    tree = everything()
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(12, tree, metadata={"accuracy": np.float32(0.5), "nan": float("nan"), "names": ("a", "b")})
        step, found, metadata = checkpoints.restore_latest(tree)
    assert step == 12
    assert_same(found, tree)
    assert metadata == {"accuracy": 0.5, "nan": None, "names": ["a", "b"]}
    keys = found["keys"]["several"]
    assert jax.random.uniform(keys[0]) == jax.random.uniform(tree["keys"]["several"][0])
    assert not found["state"].step.committed  # else the first step after it would compile anew


def test_shapes_serve_as_template(tmp_path):
    tree = {"w": jnp.arange(4, dtype=jnp.bfloat16), "key": jax.random.key(5)}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, tree)
        assert_same(checkpoints.restore_latest(jax.eval_shape(lambda: tree)).tree, tree)


def test_without_a_template_it_is_a_nested_dict_of_numpy_arrays(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(0, everything())
        tree = checkpoints.restore_latest().tree
    assert tree["state"]["params"]["a"]["bias"].dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(tree["state"]["params"]["a"]["kernel"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(tree["keys"]["one"], jax.random.key_data(jax.random.key(3)))
    assert tree["numbers"]["0"] == 3
    assert tree["nothing"] == {}
    assert tree["deeper"] == {"nothing": {}}
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(tree))


def test_a_tree_without_arrays(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(0, {"a": {}})
        assert checkpoints.restore_latest().tree == {"a": {}}
        assert checkpoints.restore_latest({"a": {}, "b": None}).tree == {"a": {}, "b": None}


def test_nothing_shares_memory_with_what_was_saved(tmp_path):
    """The arrays are donated, or written over, while the save is under way."""
    ours, size = np.zeros(1_000_000, np.float32), 1_000_000
    theirs = jnp.zeros(size)
    overwrite = jax.jit(lambda x: x + 1, donate_argnums=0)
    with Checkpoints(tmp_path) as checkpoints:
        for step in range(3):
            checkpoints.save(step, {"ours": ours, "theirs": theirs})
            ours += 1
            theirs = overwrite(theirs)
    for step in range(3):
        tree = checkpoint.read(tmp_path / f"{step:08d}").tree
        assert (tree["ours"] == step).all()
        assert (tree["theirs"] == step).all()


def test_on_other_devices(tmp_path):
    devices = jax.devices()
    everywhere = NamedSharding(Mesh(np.array(devices), ("x",)), PartitionSpec())
    split = NamedSharding(Mesh(np.array(devices), ("x",)), PartitionSpec("x"))
    tree = {"w": jnp.arange(8.0), "key": jax.random.key(0)}
    of_shape = lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
    with Checkpoints(tmp_path) as checkpoints:
        for step, place in enumerate((devices[2], everywhere)):
            checkpoints.save(step, jax.device_put(tree, place))
            for template, on in (
                (jax.tree.map(lambda x: of_shape(x, everywhere), tree), 4),
                (jax.device_put(tree, devices[1]), 1),
            ):
                restored = checkpoints.restore_latest(template)
                assert restored.step == step
                assert_same(restored.tree, tree)
                assert all(len(leaf.devices()) == on for leaf in jax.tree.leaves(restored.tree))
                assert restored.tree["w"].sharding == template["w"].sharding
        shards = checkpoints.restore_latest({"w": of_shape(tree["w"], split), "key": tree["key"]}).tree["w"]
        assert shards.addressable_shards[3].data.tolist() == [6.0, 7.0]


def test_a_template_that_does_not_fit(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"a": {"w": jnp.zeros((2, 3))}, "b": jnp.zeros(2), "key": jax.random.key(0)})
        template = {"a": {"w": jnp.zeros((2, 4))}, "c": np.zeros(1, np.int32), "key": jax.random.key(0, impl="rbg")}
        with pytest.raises(ValueError, match="does not fit") as error:
            checkpoints.restore_latest(template)
    assert str(error.value).partition("does not fit: ")[2] == (
        "a/w is float32[2,3], expected float32[2,4]; c is absent, expected int32[1];"
        " key is key<fry>[], expected key<rbg>[]; b is float32[2], expected absent"
    )


@jax.tree_util.register_pytree_with_keys_class
class Twins:
    """A pytree whose two leaves have one name."""

    def tree_flatten_with_keys(self):
        return [(jax.tree_util.DictKey(key), 0.0) for key in (1, "1")], None

    @classmethod
    def tree_unflatten(cls, aux, children):
        return cls()


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"a": {"b": "text"}}, "a/b is a str"),
        ({"a": np.array([object()])}, "a is a ndarray of dtype object"),
        ({"a": {1: 0.0}, "a/1": 0.0}, "no '/'"),
        ({"a": Twins()}, "two leaves are named 'a/1'"),
        (np.zeros(2), "path"),
    ],
)
def test_what_cannot_be_saved_is_named(tmp_path, tree, message):
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(ValueError, match=message):
            checkpoints.save(1, tree)
        assert checkpoints.steps() == []


def test_fewer_than_one_kept_is_refused(tmp_path):
    with pytest.raises(ValueError, match="keep = 0: at least the last checkpoint has to stay"):
        Checkpoints(tmp_path, keep=0)


def test_the_last_ones_stay(tmp_path):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step in (1, 2, 3, 4):
            checkpoints.save(step, {"x": np.zeros(1)})
        checkpoints.wait()
        assert checkpoints.steps() == [3, 4]
    assert sorted(os.listdir(tmp_path)) == ["00000003", "00000004"]


def test_going_on_from_an_earlier_step_forgets_the_later_ones(tmp_path):
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        for step in (10, 20):
            checkpoints.save(step, {"x": np.full(1, step)})
        checkpoints.save(15, {"x": np.full(1, 15)})
        assert checkpoints.restore_latest().step == 15
        assert checkpoints.steps() == [15]


def test_saving_a_step_again_replaces_it(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        for value in (1, 2, 3):
            checkpoints.save(5, {"x": np.full(2, value)})
        assert checkpoints.steps() == [5]
        assert checkpoints.restore_latest().tree["x"].tolist() == [3, 3]


def test_nothing_saved_means_from_the_beginning(tmp_path):
    with Checkpoints(tmp_path / "nowhere") as checkpoints:
        assert checkpoints.restore_latest() is None
        assert checkpoints.latest() is None
    with pytest.raises(ValueError, match="no whole checkpoint in"):
        checkpoint.read(tmp_path / "nowhere")


def test_orbax_is_silent(tmp_path, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Checkpoints(tmp_path) as checkpoints:
            checkpoints.save(1, {"x": np.zeros(1)})
            checkpoints.restore_latest()
            (tmp_path / "00000001" / "_METADATA").unlink()
            with pytest.raises(DamagedCheckpointError):
                checkpoint.read(tmp_path / "00000001")
    assert capfd.readouterr() == ("", "")


def test_plain_orbax_reads_it(tmp_path):
    from orbax.checkpoint import v1

    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"params": {"student": ({"w": jnp.arange(3.0)},)}})
    tree = v1.load(tmp_path / "00000001", checkpointable_name=None)
    assert tree["params"]["student"]["0"]["w"].tolist() == [0, 1, 2]


def test_two_processes(tmp_path):
    """Process 0 writes alone, both read, neither waits for the other; they have one device each, the saver had four."""
    with Checkpoints(tmp_path) as checkpoints:
        everywhere = NamedSharding(Mesh(np.array(jax.devices()), ("x",)), PartitionSpec())
        checkpoints.save(1, {"w": jax.device_put(jnp.arange(3.0), everywhere), "key": jax.random.key(4)})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = f"""
        import json, sys, warnings
        sys.path.insert(0, {str(ROOT)!r})
        import jax, numpy as np
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize("127.0.0.1:{port}", 2, int(sys.argv[1]))
        from jax.experimental import multihost_utils
        from jax.sharding import Mesh, NamedSharding, PartitionSpec
        from kdgan.run.checkpoint import Checkpoints
        assert len(jax.devices()) == 2 and len(jax.local_devices()) == 1
        whole = NamedSharding(Mesh(np.array(jax.devices()), ("x",)), PartitionSpec())
        key = jax.random.key(0)
        shapes = {{"w": jax.ShapeDtypeStruct((3,), np.float32, sharding=whole),
                  "key": jax.ShapeDtypeStruct((), key.dtype, sharding=whole)}}
        with Checkpoints({str(tmp_path)!r}) as checkpoints:
            tree = checkpoints.restore_latest(shapes).tree
            assert not tree["w"].is_fully_addressable and not tree["key"].is_fully_addressable
            for step in (2, 3):
                tree = {{**tree, "w": jax.jit(lambda x: 2 * x)(tree["w"])}}
                checkpoints.save(step, tree, metadata={{"process": jax.process_index()}})
            checkpoints.wait()
            multihost_utils.sync_global_devices("saved")
            step, tree, metadata = checkpoints.restore_latest(shapes)
            print(json.dumps([step, np.asarray(tree["w"]).tolist(), metadata]))
            multihost_utils.sync_global_devices("read")
    """
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    children = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code), str(i)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**environment, "JAX_PLATFORMS": "cpu"},
        )
        for i in range(2)
    ]  # fmt: skip
    try:
        for child in children:
            out, err = child.communicate(timeout=60)
            assert child.returncode == 0, err
            assert json.loads(out.splitlines()[-1]) == [3, [0.0, 4.0, 8.0], {"process": 0}]
    finally:
        for child in children:
            child.kill()
    with Checkpoints(tmp_path) as checkpoints:
        template = {"w": jax.ShapeDtypeStruct((3,), np.float32, sharding=everywhere), "key": jax.random.key(0)}
        found = checkpoints.restore_latest(template).tree
    assert len(found["w"].devices()) == 4
    assert_same(found, {"w": jnp.array([0.0, 4.0, 8.0]), "key": jax.random.key(4)})
