"""Every family of kdgan.models as every float format: a file, run by its own runtime, gives what its player gives."""

import exported
import jax
import numpy as np
import pytest

from kdgan import export
from kdgan.export.exportable import function

pytestmark = pytest.mark.extra("onnx", "onnxruntime", "jax2onnx", "flatbuffers", "litert_converter", "ai_edge_litert")

PLAYERS = exported.families()
CLOSE = 1e-4


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("families")


@pytest.mark.parametrize("name", PLAYERS)
def test_its_files_give_what_it_gives(name, folder):
    player = PLAYERS[name]
    any_size = any(field.is_ragged for field in player.inputs.values())
    formats = ["onnx", "stablehlo"] + ["litert"] * (not any_size)
    artefacts = export.write(player, folder / name, formats=formats, batch=None if any_size else 2)
    assert [artefact.format for artefact in artefacts] == formats
    given = exported.examples(player.inputs, 5)
    expected = np.asarray(jax.jit(function(player))(*given))
    for artefact in artefacts:
        run = export.open(artefact.path)
        made = run(*given)
        assert made.shape == expected.shape
        assert made.dtype == np.float32
        np.testing.assert_allclose(made, expected, atol=CLOSE, rtol=0, err_msg=artefact.format)
        # One example alone, and the same whatever stands beside it.
        np.testing.assert_allclose(run(*[array[3:4] for array in given]), expected[3:4], atol=CLOSE, rtol=0)
        assert artefact.bytes == artefact.path.stat().st_size


def test_images_of_another_size_go_through_the_same_file(folder):
    player = PLAYERS["restorer"]
    artefacts = export.write(player, folder / "sizes", formats=["onnx", "stablehlo"])
    image = np.random.default_rng(1).integers(0, 256, (2, 9, 14, 3)).astype(np.uint8)
    for artefact in artefacts:
        made = export.open(artefact.path)(image)
        assert made.shape == (2, 18, 28, 3)
        np.testing.assert_allclose(made, function(player)(image), atol=CLOSE, rtol=0)
    with pytest.raises(ValueError, match="LiteRT cannot hold student: student takes images of any size in 'image'"):
        export.write(player, folder / "sizes", formats=["litert"])
