"""Small ONNX files written node by node, and what they compute in NumPy."""

import numpy as np

KERNEL = 3


def network(
    path,
    *,
    channels_first=True,
    batch="n",
    sides=(8, 8),
    channels=1,
    classes=10,
    outputs=1,
    nodes=(),
    seed=0,
    dtype=None,
):
    """A file of one convolution, ReLU, mean over places and a dense layer: images -> logits; returns it in NumPy.

    Args:
      path: to write.
      channels_first: whether it takes [n, c, h, w].
      batch: its first axis, a number or a name.
      sides: of its images; names for any.
      channels: of them.
      classes: its logits.
      outputs: 1, or 2 with the features before the dense layer.
      nodes: types of further operations between the last and the output.
      seed: of its weights.
      dtype: of its input, where it is not float32.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(seed)
    kernel = rng.normal(size=(6, channels, KERNEL, KERNEL)).astype(np.float32)
    weight, bias = rng.normal(size=(6, classes)).astype(np.float32), rng.normal(size=classes).astype(np.float32)
    steps, last = [], "image"
    if dtype is not None:
        steps.append(helper.make_node("Cast", [last], ["float"], to=TensorProto.FLOAT))
        last = "float"
    if not channels_first:
        steps.append(helper.make_node("Transpose", [last], ["turned"], perm=[0, 3, 1, 2]))
        last = "turned"
    steps += [
        helper.make_node("Conv", [last, "kernel"], ["maps"], pads=[1, 1, 1, 1], kernel_shape=[KERNEL, KERNEL]),
        helper.make_node("Relu", ["maps"], ["positive"]),
        helper.make_node("GlobalAveragePool", ["positive"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["features"]),
        helper.make_node("Gemm", ["features", "weight", "bias"], ["logits" if not nodes else "between0"]),
    ]
    for i, kind in enumerate(nodes):
        steps.append(helper.make_node(kind, [f"between{i}"], ["logits" if i == len(nodes) - 1 else f"between{i + 1}"]))
    shape = [batch, channels, *sides] if channels_first else [batch, *sides, channels]
    given = helper.make_tensor_value_info("image", getattr(TensorProto, dtype or "FLOAT"), shape)
    made = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, classes])]
    made += [helper.make_tensor_value_info("features", TensorProto.FLOAT, [batch, 6])] * (outputs - 1)
    weights = {"kernel": kernel, "weight": weight, "bias": bias}
    graph = helper.make_graph(
        steps, "network", [given], made, [numpy_helper.from_array(array, name) for name, array in weights.items()]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.save(model, path)

    def in_numpy(images):
        """Logits of images [n, h, w, c]."""
        padded = np.pad(np.asarray(images, np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (KERNEL, KERNEL), axis=(1, 2))  # [n, h, w, c, k, k]
        maps = np.einsum("nhwckl,ockl->nhwo", windows, kernel)
        return np.maximum(maps, 0).mean((1, 2)) @ weight + bias

    return in_numpy


def two_inputs(path):
    """A file that adds its two inputs."""
    import onnx
    from onnx import TensorProto, helper

    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in ("a", "b", "sum")}
    graph = helper.make_graph(
        [helper.make_node("Add", ["a", "b"], ["sum"])], "sum", [values["a"], values["b"]], [values["sum"]]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
