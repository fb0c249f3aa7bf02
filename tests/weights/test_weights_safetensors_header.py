"""A safetensors file whose header's length begins as a pickle does is none."""

import json

import numpy as np
import pytest

from kdgan import weights


@pytest.mark.extra("safetensors")
def test_a_header_of_640_bytes_is_no_pickle(tmp_path):
    array = np.arange(3, dtype=np.float32)
    header = json.dumps({"dense.bias": {"dtype": "F32", "shape": [3], "data_offsets": [0, array.nbytes]}}).ljust(0x0280)
    content = len(header).to_bytes(8, "little") + header.encode() + array.tobytes()
    assert content[:2] == b"\x80\x02"
    (tmp_path / "net.safetensors").write_bytes(content)
    tree = weights.read(tmp_path / "net.safetensors")
    assert "safetensors" in tree.form
    (leaf,) = _leaves(tree.arrays)
    np.testing.assert_array_equal(leaf, array)


def _leaves(tree):
    return [leaf for value in tree.values() for leaf in (_leaves(value) if isinstance(value, dict) else [value])]
