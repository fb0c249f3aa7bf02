"""PyTorch networks saved by torch, read without it into Linen modules: every family of classifiers gives equal outputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan import weights
from torch_twins import TWINS, randomised

pytestmark = pytest.mark.extra("torch")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", TWINS)
def test_a_network_of_pytorch_gives_the_same_from_its_file(name, tmp_path):
    import torch

    make, module, shape, tokens = TWINS[name]
    network = randomised(make())
    path = tmp_path / "network.pth"
    torch.save(network.state_dict(), path)
    rng = np.random.default_rng(0)
    x = rng.integers(0, 11, shape) if tokens else rng.normal(size=shape).astype(np.float32)
    theirs = torch.from_numpy(x if tokens else np.ascontiguousarray(x.transpose(0, 3, 1, 2)))
    with torch.no_grad():
        expected = network(theirs).numpy()
    x = jnp.asarray(x, jnp.int32 if tokens else jnp.float32)
    variables = weights.load(path, module, x)
    found = np.asarray(jax.jit(lambda variables, x: module.apply(variables, x, train=False))(variables, x))
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-5 * max(1, np.abs(expected).max()), rtol=0)
