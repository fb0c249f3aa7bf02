"""Files that lie, grow, or want something executed: each is one line, at once, and nothing of it runs."""

import io
import pathlib
import pickle
import struct
import tarfile
import time
import tracemalloc
import zipfile

import numpy as np
import orbax.checkpoint as ocp
import pytest

import torch_zip as z
from kdgan import weights
from kdgan.weights import archive, pickled

SIX = np.arange(6, dtype=np.float32).reshape(2, 3)


def refused(path, message):
    started = time.monotonic()
    with pytest.raises(ValueError, match=message) as error:
        weights.read(path)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"{path}: ")
    assert time.monotonic() - started < 20
    return str(error.value)


def test_the_file_that_the_others_differ_from_is_read(tmp_path):
    tree = weights.read(z.write(tmp_path / "w.pth", z.mapping(weight=z.tensor())))
    assert tree.kind == "pytorch"
    np.testing.assert_array_equal(tree.arrays["weight"], SIX)


@pytest.mark.parametrize(("shape", "strides", "offset", "expected"), [
    ((3, 2), (1, 3), 0, SIX.T), ((2,), (2,), 1, [1, 3]), ((), (), 4, 4), ((2, 3), (0, 1), 3, [[3, 4, 5]] * 2),
    ((2, 2), (1, 1), 0, [[0, 1], [1, 2]]), ((0, 7), (7, 1), 0, np.zeros((0, 7))), ((1, 2), (2**40, 1), 4, [[4, 5]]),
])  # fmt: skip
def test_views_of_a_storage_are_what_their_strides_say(shape, strides, offset, expected, tmp_path):
    path = z.write(tmp_path / "w.pth", z.mapping(weight=z.tensor(shape, strides, offset)))
    np.testing.assert_array_equal(weights.read(path).arrays["weight"], np.asarray(expected, np.float32))


@pytest.mark.parametrize(("shape", "strides", "offset"), [
    ((2, 3), (3, 1), 1), ((2, 3), (4, 1), 0), ((7,), (1,), 0), ((1,), (1,), 6), ((), (), 6), ((2,), (2**61, ), 0),
    ((2**40, 2**40), (0, 1), 0), ((2,), (1,), 2**61),
])  # fmt: skip
def test_a_view_beyond_its_storage_is_refused(shape, strides, offset, tmp_path):
    path = z.write(tmp_path / "w.pth", z.mapping(weight=z.tensor(shape, strides, offset)))
    refused(path, "goes beyond its storage")


@pytest.mark.parametrize(("shape", "strides", "offset"), [
    ((2, 3), (-3, 1), 3), ((2, -3), (3, 1), 0), ((2, 3), (3, 1), -1), ((2**80,), (1,), 0), ((2,), (2**70,), 0),
    ((2, 3), (3,), 0), ((1,) * 40, (1,) * 40, 0),
])  # fmt: skip
def test_what_is_no_shape_is_refused(shape, strides, offset, tmp_path):
    path = z.write(tmp_path / "w.pth", z.mapping(weight=z.tensor(shape, strides, offset)))
    refused(path, "no counts|do not belong together")


@pytest.mark.parametrize("shape", [(2**27,), (2**14, 2**14), (2**31, 2**20)])
def test_a_view_that_repeats_numbers_without_end_takes_no_memory(shape, tmp_path):
    path = z.write(tmp_path / "w.pth", z.mapping(weight=z.tensor(shape, (0,) * len(shape))))
    tracemalloc.start()
    refused(path, "unfolds to more than 64 MiB")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


@pytest.mark.parametrize("value", [
    z.call("os", "system", z.text("touch /tmp/never")),
    z.call("builtins", "eval", z.text("1")),
    z.call("torch", "load", z.text("x")),
    z.call("torch.storage", "_load_from_bytes", b"C\x01x"),
    z.call("torch._utils", "_rebuild_qtensor"),
    z.call("functools", "partial", z.name("collections", "OrderedDict")),
    z.call("numpy.core.multiarray", "_reconstruct"),
    z.call("my_project.nets", "Net"),
    z.call("torch.nn.modules.linear", "Linear"),
    z.name("__builtin__", "exec"),
    z.name("collections", "OrderedDict.__class__"),
    z.name("torch._utils", "_rebuild_tensor_v2.__globals__"),
    z.text("torch") + z.text("_C") + b"\x93",
    z.number(7) + z.text("x") + b"\x93",
    z.mapping(x=z.name("torch", "nn")),
])  # fmt: skip
def test_a_name_that_makes_no_tensor_is_refused_with_the_three_lines_that_convert_it(value, tmp_path):
    path = z.write(tmp_path / "net.pth", z.mapping(weight=z.tensor(), other=value))
    message = refused(path, "its pickle (holds|imports)")
    assert "import torch; model = torch.load('net.pth'" in message
    assert message.endswith("torch.save(getattr(model, 'state_dict', lambda: model)(), 'net_state_dict.pth')")


@pytest.mark.parametrize("value", [
    z.tensor()[:-1] + b"\x81",  # cls.__new__ of what is none
    z.tensor() + z.mapping(x=z.number(1)) + b"b",  # attributes of a tensor
    z.name("collections", "OrderedDict") + z.tuple_of(b"N", z.mapping(x=z.number(1))) + b"b",  # of a class
    z.name("torch._utils", "_rebuild_tensor_v2") + z.mapping(__code__=b"N") + b"b",  # of a function
    b"(" + z.text("x") + b"ios\nsystem\n",  # INST
    b"(" + z.name("collections", "OrderedDict") + b"o",  # OBJ
    b"\x82\x01",  # an extension
    b"P0\n",  # a persistent id as text
    z.text("x") + b"Q",
    z.storage(tag="module"),
    z.storage(kind="OrderedDict", module="collections"),
    z.storage(count=-6),
    z.call("torch._utils", "_rebuild_tensor_v2", z.text("no storage"), z.number(0), z.tuple_of(), z.tuple_of()),
    z.call("torch._utils", "_rebuild_tensor_v2"),
    z.call("torch._utils", "_rebuild_parameter", z.text("x"), b"\x88", b"N"),
    z.call("collections", "OrderedDict", z.number(3)),
    z.call("torch.Size", "x"),
    z.pairs([(z.tuple_of(z.number(1), z.number(2)), z.number(1))]),  # a key whose hash may take for ever
    z.text("x") + z.number(1) + b"a",  # append to a text
    z.storage() + b"(" + z.text("x") + z.number(1) + b"u",
    b"h\x07",  # what was never remembered
    b"R", b"0", b"\x94" * 3, b"(((",
])  # fmt: skip
def test_whatever_else_a_pickle_does_is_refused(value, tmp_path):
    refused(z.write(tmp_path / "w.pth", z.mapping(weight=z.tensor()) + b"0" + value), "its pickle|it holds")


def test_a_pickle_that_python_would_run_runs_nothing(tmp_path):
    class Evil:
        def __reduce__(self):
            return (pathlib.Path.touch, (tmp_path / "ran",))

    path = tmp_path / "w.pth"
    for content in (pickle.dumps(Evil()), pickle.dumps({"weight": Evil()}, 2), pickle.dumps(Evil(), 0)):
        refused(z.write(path, None, pickle=content), "its pickle")
    path.write_bytes(pickle.dumps({"weight": Evil()}))
    assert "it is a pickle, which may execute anything" in refused(path, "convert it")
    np.savez(path.with_suffix(".npz"), allow_pickle=True, weight=np.array([Evil()], object))
    refused(path.with_suffix(".npz"), "is of object, which holds more than numbers")
    assert not (tmp_path / "ran").exists()


def test_mappings_that_hold_themselves_and_each_other_end(tmp_path):
    inside = b"}q\x01" + z.text("again") + b"h\x01s" + z.text("weight") + z.tensor() + b"s"
    path = z.write(tmp_path / "w.pth", inside)
    assert list(weights.read(path).arrays) == ["weight"]
    # Thirty mappings, each with two entries for the next: 2^30 ways.
    nest = b"}q\x00" + b"".join(
        b"}q" + bytes([i]) + b"".join(z.text(key) + b"h" + bytes([i - 1]) + b"s" for key in "ab") for i in range(1, 30)
    )
    refused(z.write(tmp_path / "w.pth", nest), "it holds no tensor")


def test_one_list_handed_to_many_calls_is_not_copied_without_end(monkeypatch, tmp_path):
    monkeypatch.setattr(pickled, "MOST_OPCODES", 100_000)
    many = b"](" + b"".join(z.tuple_of(z.number(i), b"N") for i in range(1000)) + b"eq\x01"
    value = many + b"".join(b"0" + z.name("collections", "OrderedDict") + b"h\x01\x85R" for _ in range(200))
    refused(z.write(tmp_path / "w.pth", value), "longer than that of any network")


def test_numbers_beside_tensors_are_left_out(tmp_path):
    numbers = dict(
        epoch=z.number(3), loss=b"G" + struct.pack(">d", 0.5), name=z.text("net"), flags=b"]\x88a", nothing=b"N"
    )
    optimizer = z.mapping(state=z.pairs([(z.number(0), z.mapping(step=z.tensor(), exp_avg=z.tensor()))]))
    value = z.mapping(**numbers, optimizer=optimizer, model=z.mapping(weight=z.tensor()), best=z.tensor((), ()))
    tree = weights.read(z.write(tmp_path / "w.pth", value))
    assert list(tree.arrays) == ["weight"]


@pytest.mark.parametrize("wrap", ["state_dict", "model", "net", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "_orig_mod.module."])
def test_wrappers_and_prefixes_are_seen_through(wrap, prefix, tmp_path):
    arrays = {f"{prefix}0.weight": SIX, f"{prefix}0.bias": np.ones(2, np.float32)}
    path = z.state_dict(tmp_path / "w.pth", arrays, lambda value: z.mapping(**{wrap: value}, epoch=z.number(1)))
    assert list(weights.read(path).arrays) == ["0.weight", "0.bias"]


def test_of_several_state_dicts_one_is_named(tmp_path):
    pair = lambda: z.mapping(weight=z.tensor(), bias=z.tensor((2,), (1,)))
    path = z.write(tmp_path / "w.pth", z.mapping(G=pair(), D=pair()))
    refused(path, "several state dicts; say which by player: 'G', 'D'")
    assert list(weights.read(path, player="D").arrays) == ["weight", "bias"]


@pytest.mark.parametrize(("value", "message"), [
    (b"](" + z.tensor() + b"e", "it holds a list and no state dict"), (z.tensor(), "it holds a tensor and no state dict"),
    (b"N", "it holds a NoneType"), (z.mapping(epoch=z.number(1)), "it holds no tensor; it has 'epoch'"),
    (b"}", "it holds no tensor; it is empty"),
])  # fmt: skip
def test_what_is_no_state_dict_is_named(value, message, tmp_path):
    refused(z.write(tmp_path / "w.pth", value), message)


@pytest.mark.parametrize("dtype", ["<f4", "<f8", "<f2", "<i8", "|b1", "<c8"])
@pytest.mark.parametrize("order", ["little", "big"])
def test_types_and_byte_orders(dtype, order, tmp_path):
    array = np.array([[0, 1, 2], [3, 4, 300]]).astype(dtype)
    big = array.astype(array.dtype.newbyteorder(">")).tobytes()
    content = {"data/0": big if order == "big" else array.tobytes()}
    value = z.mapping(weight=z.tensor(of=z.storage(kind=z.STORAGES[dtype])))
    read = weights.read(z.write(tmp_path / "w.pth", value, content, byteorder=order.encode())).arrays["weight"]
    np.testing.assert_array_equal(read, array)
    assert read.dtype == np.dtype(dtype)


@pytest.mark.parametrize(("kind", "raw", "expected"), [
    ("BFloat16Storage", np.array([0x3F80, 0xC000], "<u2"), [1.0, -2.0]), ("ByteStorage", np.array([1, 255], "u1"), [1, 255]),
    ("BoolStorage", np.array([2, 0], "u1"), [True, False]),
])  # fmt: skip
def test_types_that_numpy_has_not(kind, raw, expected, tmp_path):
    value = z.mapping(weight=z.tensor((2,), (1,), of=z.storage(count=2, kind=kind)))
    path = z.write(tmp_path / "w.pth", value, {"data/0": raw.tobytes()})
    assert weights.read(path).arrays["weight"].astype(float).tolist() == [float(x) for x in expected]


def test_a_storage_is_as_long_as_the_pickle_says_and_is_there(tmp_path):
    value = z.mapping(weight=z.tensor())
    refused(z.write(tmp_path / "w.pth", value, {}), "lacks its member 'archive/data/0'")
    refused(z.write(tmp_path / "w.pth", value, {"data/0": bytes(20)}), "has 20 bytes, its pickle says 24")
    refused(z.write(tmp_path / "w.pth", value, {"data/0": bytes(2**10)}), "has 1,024 bytes, its pickle says 24")
    escaping = z.mapping(weight=z.tensor(of=z.storage("../../etc/passwd")))
    refused(z.write(tmp_path / "w.pth", escaping), "lacks its member")
    refused(z.write(tmp_path / "w.pth", value, byteorder=b"middle"), "byte order is b'middle'")
    assert weights.read(z.write(tmp_path / "w.pth", value, byteorder=None)).arrays["weight"][1, 2] == 5


def test_compressed_members_are_read_as_far_as_a_file_of_weights_may_unfold(tmp_path):
    path = z.write(tmp_path / "w.pth", z.mapping(weight=z.tensor()), compression=zipfile.ZIP_DEFLATED)
    np.testing.assert_array_equal(weights.read(path).arrays["weight"], SIX)
    count = 2**25  # 128 MiB of zeros in 128 kB
    value = z.mapping(weight=z.tensor((count,), (1,), of=z.storage(count=count)))
    z.write(path, value, {"data/0": bytes(4 * count)}, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**20
    refused(path, "unfolds to more than 64 MiB")
    z.write(path, None, pickle=bytes(2**27), compression=zipfile.ZIP_DEFLATED)
    refused(path, "has 134,217,728 bytes; at most")
    z.write(path, z.mapping(weight=z.tensor()), compression=zipfile.ZIP_LZMA)
    refused(path, "compressed in another way")


def lie(path, member, *, size=None, compressed=None):
    """Change what the directory of a zip file, and the member's own header, say of its sizes."""
    content = bytearray(path.read_bytes())
    for signature, at, header in ((b"PK\x01\x02", 20, 46), (b"PK\x03\x04", 18, 30)):
        place = -1
        while (place := content.find(signature, place + 1)) >= 0:
            length = struct.unpack_from("<H", content, place + header - (18 if header == 46 else 4))[0]
            if content[place + header : place + header + length] == member.encode():
                if compressed is not None:
                    struct.pack_into("<I", content, place + at, compressed)
                if size is not None:
                    struct.pack_into("<I", content, place + at + 4, size)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("said", [12, 48, 2**31])
def test_a_member_that_lies_about_its_size_is_refused(compression, said, tmp_path):
    value = z.mapping(weight=z.tensor((said // 4,), (1,), of=z.storage(count=said // 4)))
    path = z.write(tmp_path / "w.pth", value, compression=compression)
    refused(lie(path, "archive/data/0", size=said), "not as long|damaged|unfolds to more")


def test_a_bomb_that_says_it_is_small_unfolds_no_further_than_it_says(tmp_path):
    path = tmp_path / "w.pth"
    z.write(path, z.mapping(weight=z.tensor()), {"data/0": bytes(2**26)}, compression=zipfile.ZIP_DEFLATED)
    lie(path, "archive/data/0", size=24)
    tracemalloc.start()
    refused(path, "not as long|damaged")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**23


def test_damaged_and_other_archives(tmp_path):
    path = tmp_path / "w.pth"
    whole = z.write(path, z.mapping(weight=z.tensor())).read_bytes()
    for cut in (4, 40, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        refused(path, "damaged|not as long")
    for i in range(0, len(whole), 7):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 0x41]) + whole[i + 1 :])
        try:
            weights.read(path)
        except ValueError as error:
            assert "\n" not in str(error)  # noqa: PT017
    with zipfile.ZipFile(path, "w") as other:
        other.writestr("readme.txt", "x")
    refused(path, "a zip file without arrays")
    with zipfile.ZipFile(path, "a") as other:
        other.writestr("a/data.pkl", z.pickled(b"N"))
        other.writestr("b/data.pkl", z.pickled(b"N"))
    refused(path, "it holds 2 pickles")
    z.write(path, z.mapping(weight=z.tensor()), {"code/net.py": b"x"})
    refused(path, "TorchScript program, which executes code")
    with zipfile.ZipFile(path, "w") as other:
        other.writestr("a/data.pkl", z.pickled(b"N"))
        with pytest.warns(UserWarning, match="Duplicate"):
            other.writestr("a/data.pkl", z.pickled(b"N"))
    refused(path, "names its member 'a/data.pkl' twice")


def test_files_older_than_pytorch_1_6_are_refused_with_the_lines_that_convert_them(tmp_path):
    path = tmp_path / "old.pth"
    path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({"weight": 1}, 2))
    assert "torch.save(getattr(model" in refused(path, "it is of PyTorch before 1.6")
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo("pickle")
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    refused(path, "it is of PyTorch before 1.6")


@pytest.mark.parametrize("content", [
    b"", b"\x00", b"x", b"{}", b"\x81", b"\x81\xa1x", b"\xde\xff\xff", b"\xdf\xff\xff\xff\xff", b"\x80", b"PK\x03\x04",
    b"\x89HDF\r\n\x1a\n" + bytes(100), b"\xff" * 100, b"\x08\x00\x00\x00\x00\x00\x00\x00{      }", b"\x81\xa1x\xc1",
    struct.pack("<Q", 2**60) + b"{}", b"\x81\xa1x\xc7\x05\x01abcde", b"\x81\xa1x\xa1y", b"\x93NUMPY" + bytes(50),
])  # fmt: skip
def test_what_is_no_file_of_weights_is_said_so(content, tmp_path):
    path = tmp_path / "w"
    path.write_bytes(content)
    refused(path, "none of the files that are read|damaged|holds no arrays|needs the package safetensors")


def npz(path, header, content=b""):
    with zipfile.ZipFile(path, "w") as file:
        raw = header.encode()
        file.writestr("weight.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(raw)) + raw + content)
    return path


@pytest.mark.parametrize(("header", "message"), [
    ("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}", "not as long as its header says"),
    ("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", "not as long|no array"),
    ("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", "holds more than numbers"),
    ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", "holds more than numbers"),
    ("{'descr': '<U4', 'fortran_order': False, 'shape': (1,)}", "holds more than numbers"),
    ("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}", "no array of NumPy"),
    ("{'descr': '<f4', 'fortran_order': False, 'shape': ((), )}", "no array of NumPy"),
    ("__import__('os').system('x')", "no array of NumPy"), ("(" * 5000, "no array of NumPy"),
])  # fmt: skip
def test_headers_of_npz_are_not_believed(header, message, tmp_path):
    refused(npz(tmp_path / "w.npz", header, bytes(4)), message)


def test_an_npz_that_unfolds_to_too_much_is_refused(tmp_path):
    np.savez_compressed(tmp_path / "w.npz", weight=np.zeros(2**25, np.float32))
    refused(tmp_path / "w.npz", "unfolds to more than 64 MiB")


def test_names_that_go_on_where_an_array_ends(tmp_path):
    np.savez(tmp_path / "w.npz", **{"params/a": np.zeros(1), "params/a/kernel": np.zeros(1)})
    refused(tmp_path / "w.npz", "goes on where another array ends")
    np.savez(tmp_path / "w.npz", **{"params/a/kernel": np.zeros(1), "params/a": np.zeros(1)})
    refused(tmp_path / "w.npz", "both an array and the beginning")


@pytest.mark.parametrize("name", ["a\nb.weight", "x" * 1000, "a" + "/a" * 2000, "\x1b[31m.weight"])
def test_names_that_no_layer_has(name, tmp_path):
    refused(z.state_dict(tmp_path / "w.pth", {name: SIX}), "it has an array of the name")
    np.savez(tmp_path / "w.npz", **{name: SIX})
    refused(tmp_path / "w.npz", "it has an array of the name|is no array of NumPy|damaged")


@pytest.mark.parametrize("what", ["shape", "chunks"])
def test_a_folder_of_orbax_that_says_more_than_it_has(what, tmp_path):
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(use_ocdbt=False, use_zarr3=False)) as checkpointer:
        checkpointer.save(tmp_path / "w", {"params": {"kernel": np.zeros((4, 4), np.float32)}})
    assert weights.read(tmp_path / "w").arrays["params"]["kernel"].shape == (4, 4)
    about = tmp_path / "w" / "params.kernel" / ".zarray"
    about.write_text(about.read_text().replace(f'"{what}":[4,4]', f'"{what}":[4000000,4000000]'))
    refused(tmp_path / "w", "its arrays have 64,000,000,000,000 bytes; at most")


def test_more_members_than_any_network_has(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MOST_MEMBERS", 3)
    np.savez(tmp_path / "w.npz", **{f"w{i}": np.zeros(1) for i in range(4)})
    refused(tmp_path / "w.npz", "4 members; at most 3")
