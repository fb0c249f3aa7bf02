"""What the tables and plots call the ways of doing a step that are measured."""

NAMES = {
    "jax": "JAX by hand",
    "jax_modules": "JAX by hand, kdgan's modules",
    "eager": "PyTorch",
    "channels_last": "PyTorch, channels last",
    "compile": "`torch.compile`",
    "compile_channels_last": "`torch.compile`, channels last",
    "cuda_graphs": "`torch.compile`, CUDA graphs",
    "kdgan": "kdgan",
    "step": "kdgan's bare step",
    "one": "kdgan, one member",
}
