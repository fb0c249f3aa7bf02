"""A strict session: four CPU devices, warnings are errors, ranks never promote silently, shapes are checked.

What must be set before JAX starts stands first; jaxtyping's checks are on in tests only and cost nothing elsewhere.
"""

import importlib.util
import os
import pathlib

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "Agg")
# Programs as small as these take longer to optimise than to run.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

from jaxtyping import install_import_hook

install_import_hook("kdgan", "typecheck.check")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_addoption(parser):
    parser.addoption(
        "--all-ways", action="store_true", help="every method under every way of running, not under one of them in turn"
    )


def pytest_runtest_setup(item):
    """A test of an extra is skipped where one of its packages is absent; `make test-extras` installs all."""
    wanted = [name for marker in item.iter_markers("extra") for name in marker.args]
    if absent := [name for name in wanted if importlib.util.find_spec(name) is None]:
        pytest.skip(f"needs the packages {', '.join(absent)}: make extras")


@pytest.fixture(scope="session")
def shared_data_dir() -> pathlib.Path:
    """The folder of prepared TFDS data sets named by KDGAN_DATA_DIR; skips where there is none."""
    folder = os.environ.get("KDGAN_DATA_DIR")
    if not folder or not pathlib.Path(folder, "mnist").is_dir():
        pytest.skip("KDGAN_DATA_DIR names no folder with prepared data sets (mnist, cifar10)")
    return pathlib.Path(folder)
