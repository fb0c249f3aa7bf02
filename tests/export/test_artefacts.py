"""`kdgan.export.write`: what is in the files and beside them, int8 by calibration, and what is refused in one line."""

import json
import subprocess
import sys

import exported
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import serialization, traverse_util

from kdgan import export, models
from kdgan.data.fields import Field
from kdgan.export import exportable as exportables
from kdgan.export.exportable import Exportable, function
from kdgan.export.outputs import OUTPUTS

EXTRAS = ("onnx", "onnxruntime", "jax2onnx", "flatbuffers", "litert_converter", "ai_edge_litert", "litert_quantizer")
needs_extras = pytest.mark.extra(*EXTRAS, "safetensors")

PLAYER = exported.build(
    models.ResNet(depth=8, stem=4, features=(4, 6, 8), num_classes=3), exported.IMAGE
)  # with batch statistics
FORMATS = ("onnx", "stablehlo", "litert", "safetensors", "msgpack")


def calibration(player, count=40):
    return dict(zip(player.inputs, exported.examples(player.inputs, count, seed=3), strict=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("artefacts")


@pytest.fixture(scope="module")
def written(folder):
    """Artefacts of all formats, by the name of the file."""
    artefacts = export.write(
        PLAYER, folder / "all", formats=FORMATS, quantise="int8", calibration=calibration(PLAYER), batch=2
    )
    return {artefact.path.name: artefact for artefact in artefacts}


@needs_extras
def test_files_are_named_by_the_player_with_what_runs_them_beside_each(written, folder):
    names = [
        "student.onnx", "student.int8.onnx", "student.stablehlo", "student.tflite", "student.int8.tflite",
        "student.safetensors", "student.msgpack",
    ]  # fmt: skip
    assert list(written) == names
    assert [one.quantised for one in written.values()] == [None, "int8", None, None, "int8", None, None]
    beside = {f"{name}.py" for name in names} | {"student.stablehlo.json", "student.msgpack.json"}
    assert {path.name for path in (folder / "all").iterdir()} == {*names, *beside}


@needs_extras
@pytest.mark.parametrize(
    "name",
    [
        "student.onnx", "student.int8.onnx", "student.stablehlo", "student.tflite", "student.int8.tflite",
        "student.safetensors", "student.msgpack",
    ],
)  # fmt: skip
def test_the_lines_beside_a_file_run_it_from_anywhere(written, name, tmp_path):
    script = f"{written[name].path}.py"
    code = compile(written[name].path.with_name(f"{name}.py").read_text(), script, "exec")  # a file that is well formed
    assert code
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", script], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
        env={"PYTHONPATH": ":".join(sys.path), "JAX_PLATFORMS": "cpu", "PATH": ""},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("(2, 3)")
    if name.endswith((".onnx", ".tflite", ".stablehlo")):
        image = np.zeros((2, 8, 8, 3), np.uint8)
        best = export.open(written[name].path)(image).argmax(-1)
        assert ran.stdout.strip() == f"(2, 3) {[exported.NAMES[k] for k in best]}"


@needs_extras
def test_what_a_file_is_of_stands_in_it(written):
    import onnx
    from safetensors import safe_open

    from kdgan.export import litert

    wanted = {**exported.ABOUT, "player": "student", "output": "probabilities"}
    for name in ("student.onnx", "student.int8.onnx"):
        props = {one.key: one.value for one in onnx.load(written[name].path).metadata_props}
        assert wanted.items() <= props.items()
        assert json.loads(props["class_names"]) == list(exported.NAMES)
        assert ("quantised" in props) == ("int8" in name)
        model = onnx.load(written[name].path)
        assert [one.version for one in model.opset_import if one.domain in ("", "ai.onnx")] == [21]
        assert [one.name for one in model.graph.input] == ["image"]
    for name in ("student.tflite", "student.int8.tflite"):
        assert wanted.items() <= litert.description(written[name].path.read_bytes()).items()
    with safe_open(written["student.safetensors"].path, framework="numpy") as opened:
        assert wanted.items() <= opened.metadata().items()
    for name in ("student.stablehlo", "student.msgpack"):
        beside = json.loads(written[name].path.with_name(f"{name}.json").read_text())
        assert wanted.items() <= beside.items()
        assert json.loads(beside["mean"]) == list(exported.MEAN)


@needs_extras
def test_parameters_come_back_bitwise(written):
    from safetensors.numpy import load_file

    expected = traverse_util.flatten_dict(PLAYER.full, sep=".")
    flat = load_file(written["student.safetensors"].path)
    tree = serialization.msgpack_restore(written["student.msgpack"].path.read_bytes())
    assert flat.keys() == expected.keys()
    assert any(name.startswith("batch_stats.") for name in flat)
    restored = traverse_util.flatten_dict(tree, sep=".")
    for name, value in expected.items():
        np.testing.assert_array_equal(flat[name], value)
        np.testing.assert_array_equal(restored[name], value)


@needs_extras
def test_stablehlo_is_reloaded_with_jax_alone_for_three_platforms(written):
    from jax import export as jax_export

    reloaded = jax_export.deserialize(bytearray(written["student.stablehlo"].path.read_bytes()))
    assert reloaded.platforms == ("cpu", "tpu", "cuda")
    (images,) = exported.examples(PLAYER.inputs, 7)
    np.testing.assert_allclose(reloaded.call(images), jax.jit(function(PLAYER))(images), atol=1e-6)


@needs_extras
def test_int8_is_near_and_gives_probabilities(written):
    (images,) = exported.examples(PLAYER.inputs, 64, seed=9)
    expected = np.asarray(jax.jit(function(PLAYER))(images))
    for name in ("student.int8.onnx", "student.int8.tflite"):
        made = export.open(written[name].path)(images)
        assert made.dtype == np.float32
        np.testing.assert_allclose(made.sum(-1), 1, atol=1e-5)  # softmax itself is not rounded
        assert np.abs(made - expected).max() < 0.1
        assert np.abs(made - expected).mean() < 0.01
        assert np.abs(made - expected).max() > 1e-4  # and is no float file


@needs_extras
def test_int8_of_enough_parameters_is_a_third_of_the_bytes(folder):
    player = exported.build(models.CNN(num_classes=3), exported.IMAGE)
    assert sum(leaf.size for leaf in jax.tree.leaves(player.variables["params"])) > 30_000
    artefacts = export.write(
        player, folder / "large", formats=["onnx", "litert"], quantise="int8", calibration=calibration(player)["image"]
    )
    sizes = {(one.format, one.quantised): one.bytes for one in artefacts}
    for format in ("onnx", "litert"):
        assert sizes[format, "int8"] <= 0.35 * sizes[format, None]


@needs_extras
def test_int8_takes_the_largest_ranges_of_activations(folder):
    """A few examples that are far brighter than the others are not clipped to the average range."""

    class Sum(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            return nn.Dense(2, kernel_init=nn.initializers.ones)(x)

    fields = {"x": Field("vector", (4,))}
    module = Sum()
    variables = module.init(jax.random.key(0), jnp.zeros((1, 4)))
    player = Exportable("sum", module, {"params": variables["params"]}, fields)
    x = np.full((64, 4), 0.1, np.float32)
    x[5] = 10.0
    artefacts = export.write(player, folder / "sum", formats=["onnx", "litert"], quantise="int8", calibration=x)
    for artefact in artefacts:
        np.testing.assert_allclose(export.open(artefact.path)(x[5:6]), [[40.0, 40.0]], atol=0.5)


@needs_extras
def test_a_file_takes_normalised_images_where_that_is_asked_for(folder):
    artefacts = export.write(PLAYER, folder / "outside", formats=["onnx", "stablehlo", "litert"], normalise=False)
    (images,) = exported.examples(PLAYER.inputs, 3)
    seen = ((images / 255 - exported.MEAN) / exported.STD).astype(np.float32)
    expected = function(PLAYER)(images)
    for artefact in artefacts:
        np.testing.assert_allclose(export.open(artefact.path)(seen), expected, atol=1e-4)
        with pytest.raises(ValueError, match=r"takes .* as float32 \[n, 8, 8, 3\], got uint8 \[3, 8, 8, 3\]"):
            export.open(artefact.path)(images)


@needs_extras
def test_a_path_with_a_suffix_is_a_file(folder):
    (artefact,) = export.write(PLAYER, folder / "mine.stablehlo")
    assert artefact.path == folder / "mine.stablehlo"
    assert (folder / "mine.stablehlo.py").exists()


@needs_extras
def test_pools_called_by_position_are_converted(folder):
    class Pools(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            x = nn.max_pool(x, (2, 2), (2, 2)) + nn.avg_pool(x, (2, 2), (2, 2))
            return nn.Dense(3)(x.reshape(x.shape[0], -1))

    player = exported.build(Pools(), exported.IMAGE)
    pools = nn.max_pool, nn.avg_pool
    (artefact,) = export.write(player, folder / "pools.onnx")
    assert (nn.max_pool, nn.avg_pool) == pools
    (images,) = exported.examples(player.inputs)
    np.testing.assert_allclose(export.open(artefact.path)(images), function(player)(images), atol=1e-5)


def spectrum(x):
    return jnp.abs(jnp.fft.fft(x[..., 0, 0].astype(jnp.complex64)))


def on_the_host(x):
    return jax.pure_callback(np.asarray, jax.ShapeDtypeStruct(x.shape, "float32"), x, vmap_method="sequential")


def a_function(function, name="teacher"):
    return Exportable(name, models.Function(function), {"params": {}}, exported.IMAGE)


@needs_extras
@pytest.mark.parametrize(
    ("made", "format", "message"),
    [
        (spectrum, "onnx", "ONNX cannot hold teacher: there is no fft in it"),
        (spectrum, "litert", "LiteRT cannot hold teacher: there is no fft in it"),
        (lambda x: jnp.linalg.inv(x[0, :, :, 0]), "litert", "LiteRT cannot hold teacher: there is no lapack_sgetrf"),
        *(
            (
                on_the_host,
                format,
                f"{name} cannot hold teacher: there is no pure_callback in it; the player calls Python, which no file holds",
            )
            for format, name in (("onnx", "ONNX"), ("stablehlo", "StableHLO"), ("litert", "LiteRT"))
        ),
    ],
)  # fmt: skip
def test_a_network_that_a_format_cannot_hold_is_refused_by_its_operation(made, format, message, tmp_path):
    with pytest.raises(ValueError, match=message) as error:
        export.write(a_function(made), tmp_path, formats=[format])
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(formats=["onxn"]), "format 'onxn': onnx, stablehlo, litert, safetensors, msgpack, page are accepted"),
        (dict(formats=[]), "format is empty"),
        (dict(formats=["onnx"], quantise="int4"), "quantise = 'int4': 'int8' is accepted"),
        (dict(formats=["stablehlo"], quantise="int8"), "quantise = 'int8': stablehlo has none; onnx and litert have it"),
        (dict(formats=["onnx"], quantise="int8"), "give calibration=images"),
        (dict(formats=["onnx"], batch=4), "batch = 4: litert alone has a fixed one"),
        (dict(formats=["litert"], batch=0), "batch = 0: a whole number of at least 1"),
        (dict(quantise="int8", calibration=np.zeros((3, 9, 8, 3), np.uint8)), r"'image' has shape \[3, 9, 8, 3\]"),
        (dict(formats=["onnx"], quantise="int8", calibration=np.full((3, 8, 8, 3), 7.0)), r"'image' has values 7\.\.7"),
        (dict(formats=["onnx"], quantise="int8", calibration={"pixels": 1}), "takes image; 'image' is missing"),
        (dict(quantise="int8", calibration=np.zeros((0, 8, 8, 3), np.uint8)), "image 0; as many of each, and one or more"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused_before_anything_is_converted(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        export.write(PLAYER, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="file is a file; a folder, or a new name, is accepted"):
        export.write(PLAYER, tmp_path / "file", formats=["onnx"])
    with pytest.raises(ValueError, match="file is a file, and no folder"):
        export.write(PLAYER, tmp_path / "file" / "student.onnx")
    with pytest.raises(ValueError, match=r"student\.onnx is a file of format onnx; of format litert name a folder"):
        export.write(PLAYER, tmp_path / "student.onnx", formats=["litert"])
    with pytest.raises(ValueError, match="the name of the folder is empty"):
        export.write(PLAYER, "", formats=["onnx"])
    with pytest.raises(
        ValueError, match=r"student.int8.onnx: .int8 is added to the name .* with student.onnx writes both"
    ):
        export.write(PLAYER, tmp_path / "student.int8.onnx", quantise="int8")
    with pytest.raises(ValueError, match="there is no such file"):
        export.open(tmp_path / "nothing.onnx")
    with pytest.raises(ValueError, match=r"the suffix \.pt is of no format"):
        export.write(PLAYER, tmp_path / "student.pt")


@pytest.mark.parametrize(
    ("format", "package", "command"),
    [
        ("onnx", "jax2onnx", "pip install --no-deps -r requirements-export-no-deps.txt"),
        ("stablehlo", "flatbuffers", "pip install -r requirements-export.txt"),
        ("litert", "litert_converter", "pip install --no-deps -r requirements-export-no-deps.txt"),
        ("safetensors", "safetensors", r'pip install -e "\.\[safetensors\]"'),
    ],
)
def test_an_absent_package_is_one_line_with_the_command(format, package, command, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)

    class Absent:
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] == package:
                raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    monkeypatch.setattr(sys, "meta_path", [Absent(), *sys.meta_path])
    with pytest.raises(ValueError, match=f"needs the package {package}: .*{command}"):
        export.write(PLAYER, tmp_path, formats=[format])


def test_files_that_are_no_programs_are_not_run(tmp_path):
    (tmp_path / "student.msgpack").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"student\.msgpack is no program; \.onnx, \.tflite, \.stablehlo are run"):
        export.open(tmp_path / "student.msgpack")


@needs_extras
@pytest.mark.parametrize("suffix", ["onnx", "tflite", "stablehlo"])
def test_a_damaged_file_is_one_line(suffix, tmp_path):
    path = tmp_path / f"student.{suffix}"
    path.write_bytes(b"no model at all, but long enough to be looked at")
    with pytest.raises(ValueError, match=rf"student\.{suffix} cannot be read") as error:
        export.open(path)
    assert "\n" not in str(error.value)


def test_logits_come_back_from_probabilities_up_to_what_a_softmax_forgets():
    logits = np.random.default_rng(0).normal(0, 4, (6, 5)).astype(np.float32)
    probabilities = np.asarray(OUTPUTS["probabilities"].of(logits, None))
    back = OUTPUTS["probabilities"].back(probabilities, None)
    np.testing.assert_allclose(back - back.mean(-1, keepdims=True), logits - logits.mean(-1, keepdims=True), atol=1e-4)
    odds = OUTPUTS["tags"].back(np.asarray(OUTPUTS["tags"].of(logits, None)), None)
    np.testing.assert_allclose(odds, logits, atol=1e-2)
    images = np.random.default_rng(0).random((2, 3, 3, 3)).astype(np.float32)
    pixels = (exported.MEAN, exported.STD)
    seen = OUTPUTS["images"].back(images, pixels)
    np.testing.assert_allclose(seen, (images - exported.MEAN) / exported.STD, atol=1e-5)
    np.testing.assert_allclose(OUTPUTS["images"].of(seen, pixels), images, atol=1e-6)


def test_a_player_of_several_outputs_is_refused():
    module = models.VAE(latent=5, width=0.1, image_size=8, channels=3)
    player = exported.build(module, exported.IMAGE, output="images")
    with pytest.raises(ValueError, match="student gives mean, log_variance, decoded; a player that gives one array"):
        exportables.function(player)(*exported.examples(player.inputs))
