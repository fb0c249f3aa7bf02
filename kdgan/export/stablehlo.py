"""StableHLO by `jax.export`: any number of examples, on CPU, TPU and NVIDIA's GPUs; JAX alone reads it back."""

import jax
from jax import export as jax_export

from kdgan import extras
from kdgan.export.exportable import Exportable, function, shapes
from kdgan.export.refused import naming_operation

PLATFORMS = ("cpu", "tpu", "cuda")


def convert(exportable: Exportable, *, normalise: bool = True) -> bytes:
    """The content of a .stablehlo file; parameters are constants in it.

    Raises:
      ValueError: flatbuffers is not installed; an operation that cannot be stored, as a call of the host.
    """
    extras.need("flatbuffers", f"writing {exportable.name}.stablehlo")
    call = function(exportable, normalise=normalise)
    given = shapes(exportable, None, normalise=normalise)
    with naming_operation("StableHLO", exportable.name, call, given):
        return bytes(jax_export.export(jax.jit(call, keep_unused=True), platforms=PLATFORMS)(*given).serialize())
