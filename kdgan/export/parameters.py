"""Parameters alone, without a program: safetensors, and Flax's msgpack."""

from collections.abc import Mapping

import numpy as np
from flax import serialization, traverse_util

from kdgan import extras
from kdgan.export.exportable import Exportable, metadata

SEPARATOR = "."  # of the names in a safetensors file: params.conv1.kernel


def safetensors(exportable: Exportable, *, normalise: bool = True) -> bytes:
    """Every array under its flat name, "params.conv1.kernel", "batch_stats.bn1.mean", with metadata in its header."""
    package = extras.need("safetensors.numpy", f"writing {exportable.name}.safetensors")
    return package.save(_flat(exportable), metadata=metadata(exportable, normalise=normalise))


def msgpack(exportable: Exportable) -> bytes:
    """{"params": tree, "batch_stats": tree, ...}, as `flax.serialization.msgpack_restore` gives it back."""
    return serialization.msgpack_serialize(traverse_util.unflatten_dict(_flat(exportable), sep=SEPARATOR))


def _flat(exportable: Exportable) -> Mapping[str, np.ndarray]:
    flat = traverse_util.flatten_dict(serialization.to_state_dict(exportable.full), sep=SEPARATOR)
    return {name: np.ascontiguousarray(value) for name, value in flat.items()}
