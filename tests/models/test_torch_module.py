"""PyTorch modules as players: values and input gradients are PyTorch's, under every transform; what cannot be is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdgan import game, models
from kdgan.around import innermost
from kdgan.models import torch_module

pytestmark = pytest.mark.extra("torch", "torchax")

IMAGES = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype(np.float32)
SLOPES = np.random.default_rng(1).normal(size=(4, 10)).astype(np.float32)


@pytest.fixture(scope="module")
def net():
    """(player, its variables, PyTorch's logits and input gradient in Flax's layout)."""
    player = models.build("torch:torch_nets.net")
    return player, player.own_variables(), *in_torch(player)


def channels_first(images):
    import torch

    array = np.ascontiguousarray(images.transpose(0, 3, 1, 2) if images.ndim == 4 else images)
    return torch.tensor(array).clone(memory_format=torch.contiguous_format)


def in_torch(player):
    import torch

    given = channels_first(IMAGES).requires_grad_()
    logits = player.module._module(given)
    (logits * torch.tensor(SLOPES)).sum().backward()
    return logits.detach().numpy(), given.grad.numpy().transpose(0, 2, 3, 1)


def gradient(player, variables, images=IMAGES, slopes=SLOPES):
    return jax.jit(jax.grad(lambda x: jnp.sum(player.apply(variables, x) * slopes)))(images)


def test_value_and_input_gradient_are_those_of_pytorch(net):
    player, variables, logits, slopes = net
    np.testing.assert_allclose(jax.jit(player.apply)(variables, IMAGES), logits, atol=1e-5)
    np.testing.assert_allclose(gradient(player, variables), slopes, atol=1e-5)
    assert np.abs(slopes).max() > 0.01


def test_under_vmap_over_members_and_over_devices(net):
    player, variables, logits, _ = net
    members = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), variables)
    both = jax.jit(jax.vmap(player.apply))(members, np.stack([IMAGES, IMAGES[::-1]]))
    np.testing.assert_allclose(both, np.stack([logits, logits[::-1]]), atol=1e-5)
    split = jax.pmap(player.apply, in_axes=(None, 0))(variables, IMAGES.reshape(4, 1, 8, 8, 1))
    np.testing.assert_allclose(split.reshape(4, 10), logits, atol=1e-5)


def test_attention_layer_norm_and_gelu():
    player = models.build("torch:torch_nets.Attends")
    logits, slopes = in_torch(player)
    variables = player.own_variables()
    np.testing.assert_allclose(jax.jit(player.apply)(variables, IMAGES), logits, atol=1e-5)
    np.testing.assert_allclose(gradient(player, variables), slopes, atol=1e-5)


def test_its_tensors_are_variables_and_no_constants_of_the_program(net):
    player, variables, _, _ = net
    import torch_nets

    module = torch_nets.net()
    count = sum(p.numel() for p in module.parameters())
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == count
    assert set(variables["buffers"]["module"]["stem"]["1"]) == {"running_mean", "running_var", "num_batches_tracked"}
    program = jax.make_jaxpr(player.apply)(variables, IMAGES)
    assert sum(np.size(constant) for constant in program.consts) < count / 10  # how many values windows hold
    # Another set of parameters gives other logits.
    zeros = jax.tree.map(jnp.zeros_like, variables)
    np.testing.assert_array_equal(jax.jit(player.apply)(zeros, IMAGES), np.zeros((4, 10)))
    shapes = jax.eval_shape(player.init, jax.random.key(0), IMAGES)
    assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, variables)


def test_images_become_images_and_noise_becomes_images():
    import torch

    for name, given in (("Blurs", IMAGES), ("Draws", SLOPES[:, :4])):
        player = models.build(f"torch:torch_nets.{name}")
        with torch.no_grad():
            expected = player.module._module(channels_first(given)).numpy().transpose(0, 2, 3, 1)
        output = jax.jit(player.apply)(player.own_variables(), given)
        assert output.shape == (4, 8, 8, 1)
        np.testing.assert_allclose(output, expected, atol=1e-5)


def test_features_by_path_are_those_of_its_parts(net):
    player, variables, _, _ = net
    import torch

    paths = ("stem", "blocks/0/grouped")
    call = jax.jit(lambda own, images: game.call_module(player, own, images, train=False, features=paths))
    output, _, features = call(variables, IMAGES)
    module, given = player.module._module, channels_first(IMAGES)
    with torch.no_grad():
        stem = module.stem(given)
        grouped = module.blocks[0].grouped(stem)
    for path, expected in zip(paths, (stem, grouped), strict=True):
        np.testing.assert_allclose(features[path], expected.numpy().transpose(0, 2, 3, 1), atol=1e-5)
    assert output.shape == (4, 10)
    with pytest.raises(ValueError, match="no module at path 'layer9'"):
        game.call_module(player, variables, IMAGES, train=False, features=("layer9",))


def test_what_a_constructor_draws_is_the_same_every_time_and_disturbs_nothing():
    import torch

    torch.manual_seed(7)
    before = torch.get_rng_state(), torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_default_device()
    first = models.build("torch:torch_nets.net", num_classes=7)
    torch_module._held.cache_clear()
    second = models.build("torch:torch_nets.net", num_classes=7)
    jax.eval_shape(second.init, jax.random.key(0), IMAGES)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (torch.is_grad_enabled(), torch.get_default_dtype(), torch.get_default_device()) == before[1:]
    assert torch.backends.mha.get_fastpath_enabled()
    assert jax.config.jax_numpy_rank_promotion == "raise"
    assert first.content == second.content
    assert models.build("torch:torch_nets.net", num_classes=7) == second  # one compiled program serves both


def test_a_module_of_the_users_own_stays_as_it_is():
    import torch_nets

    module = torch_nets.net().train()
    player = torch_module.of(module)
    jax.eval_shape(player.init, jax.random.key(0), IMAGES)
    assert module.training
    assert repr(player.module) == "Net"


def test_a_state_dict_gives_variables(net):
    player, variables, _, _ = net
    import torch_nets

    other = torch_nets.net()
    arrays = {name: tensor.numpy() for name, tensor in other.state_dict().items()}
    loaded = player.from_state_dict(arrays)
    np.testing.assert_array_equal(loaded["params"]["module"]["head"]["weight"], arrays["head.weight"])
    np.testing.assert_array_equal(loaded["buffers"]["module"]["stem"]["1"]["running_var"], arrays["stem.1.running_var"])
    assert jax.tree.map(jnp.shape, loaded) == jax.tree.map(jnp.shape, variables)
    for name in [name for name in arrays if name.startswith("blocks.0.f")]:
        arrays[name.replace("first", "fist")] = arrays.pop(name)
    arrays["head.weight"] = arrays["head.weight"].T
    with pytest.raises(ValueError, match="PyTorch module torch:torch_nets") as error:
        player.from_state_dict(arrays)
    said = str(error.value)
    assert "missing: blocks.0.first.weight, blocks.0.first.bias" in said
    assert "left over: blocks.0.fist.weight" in said
    assert "of another shape: head.weight [84, 10], not [10, 84]" in said
    assert "\n" not in said
    arrays = {f"model.{name}": array for name, array in arrays.items()}
    with pytest.raises(
        ValueError, match=r"missing: stem.0.weight, (\S+, ){3}\S+ and \d+ more; left over: model.stem.0.weight"
    ):
        player.from_state_dict(arrays)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Noisy", "PyTorch module Noisy draws random numbers in evaluation mode"),
        ("Pair", "gives a tuple; a tensor, or a mapping of tensors, is accepted"),
        ("Decides", "depends on values of its input"),
        ("Wavelets", "the operation aten::rrelu_with_noise has no counterpart in JAX"),
        ("number", "torch:torch_nets.number is a int; a torch.nn.Module is accepted"),
        ("Nett", "has no class or function 'Nett' .did you mean .*'Net'"),
    ],
)
def test_what_cannot_be_converted_is_refused_in_one_line(name, message):
    with pytest.raises(ValueError, match=message) as error:
        jax.eval_shape(models.build(f"torch:torch_nets.{name}").init, jax.random.key(0), IMAGES)
    assert "\n" not in str(error.value)


def test_noise_drawn_like_a_tensor_is_refused_too():
    player = models.build("torch:torch_nets.Noisy", like=True)
    with pytest.raises(ValueError, match="draws random numbers in evaluation mode"):
        jax.eval_shape(player.init, jax.random.key(0), IMAGES)


def test_other_numbers_than_pytorchs_are_refused(net, monkeypatch):
    player, run = torch_module.of(net[0].module._module, "wrong"), torch_module.torch_to_jax.run
    monkeypatch.setattr(torch_module.torch_to_jax, "run", lambda *given: 1.001 * run(*given))
    with pytest.raises(ValueError, match="PyTorch module wrong gives other numbers in JAX than in PyTorch"):
        jax.eval_shape(player.init, jax.random.key(0), IMAGES)


def test_it_is_no_player_that_a_method_trains(net):
    from kdgan import methods

    example = {"image": jax.ShapeDtypeStruct((2, 8, 8, 1), "float32"), "label": jax.ShapeDtypeStruct((2,), "int32")}
    wrapped = models.LogProbabilities(net[0])
    assert innermost(wrapped) is net[0]
    for module in (net[0], wrapped):
        with pytest.raises(
            ValueError, match="the method trains student, a PyTorch module, which runs in evaluation mode"
        ):
            game.inspect_method(methods.build(name="supervised"), {"student": module}, example)
