"""Small networks as ONNX files, made by onnx alone: a classifier, generators and a network from image to image.

Each comes with the same function in NumPy.
"""

import numpy as np


def _model(nodes, inputs, outputs, initializers):
    from onnx import TensorProto, checker, helper, numpy_helper

    types = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT, "int32": TensorProto.INT32}
    value = lambda name, kind, shape: helper.make_tensor_value_info(name, types[kind], shape)
    graph = helper.make_graph(
        [helper.make_node(op, ins, outs, **attributes) for op, ins, outs, attributes in nodes],
        "network",
        [value(*one) for one in inputs],
        [value(*one) for one in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in initializers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    checker.check_model(model)
    return model.SerializeToString()


def _softmax(x):
    weights = np.exp(x - x.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def classifier(shape, classes, seed=0, batch="n"):
    """(bytes, function) of uint8 [n, h, w, c] -> probabilities [n, k]."""
    w = np.random.default_rng(seed).normal(0, 0.3, (int(np.prod(shape)), classes)).astype(np.float32)
    nodes = [
        ("Cast", ["image"], ["float"], {"to": 1}),
        ("Div", ["float", "full"], ["unit"], {}),
        ("Reshape", ["unit", "flat"], ["flat_unit"], {}),
        ("MatMul", ["flat_unit", "w"], ["logits"], {}),
        ("Softmax", ["logits"], ["probabilities"], {"axis": -1}),
    ]
    constants = {"full": np.float32(255), "flat": np.array([-1, len(w)]), "w": w}
    model = _model(
        nodes, [("image", "uint8", [batch, *shape])], [("probabilities", "float32", [batch, classes])], constants
    )
    return model, lambda image: _softmax(image.reshape(len(image), -1).astype(np.float32) / np.float32(255) @ w)


def generator(shape, latent, classes=0, seed=0):
    """(bytes, function) of noise [n, d] (, int32 [n]) -> images [n, h, w, c] in [0, 1]."""
    rng, size = np.random.default_rng(seed), int(np.prod(shape))
    w = rng.normal(0, 0.7, (latent, size)).astype(np.float32)
    table = rng.normal(0, 1.5, (max(classes, 1), size)).astype(np.float32)
    nodes = [
        ("MatMul", ["noise", "w"], ["mixed"], {}),
        *([("Gather", ["table", "label"], ["rows"], {}), ("Add", ["mixed", "rows"], ["sum"], {})] if classes else []),
        ("Sigmoid", ["sum" if classes else "mixed"], ["unit"], {}),
        ("Reshape", ["unit", "image_shape"], ["images"], {}),
    ]
    constants = {"w": w, "image_shape": np.array([-1, *shape]), **({"table": table} if classes else {})}
    inputs = [("noise", "float32", ["n", latent]), *([("label", "int32", ["n"])] if classes else [])]
    model = _model(nodes, inputs, [("images", "float32", ["n", *shape])], constants)

    def function(noise, label=None):
        logits = noise @ w + (table[label] if classes else np.float32(0))
        return (1 / (1 + np.exp(-logits))).reshape(len(noise), *shape)

    return model, function


def larger(channels, scale=2):
    """(bytes, function) of uint8 [n, h, w, c] -> [n, scale·h, scale·w, c] in [0, 1], of any size: each pixel repeated."""
    nodes = [
        ("Cast", ["image"], ["float"], {"to": 1}),
        ("Div", ["float", "full"], ["unit"], {}),
        ("Transpose", ["unit"], ["first"], {"perm": [0, 3, 1, 2]}),
        ("Resize", ["first", "", "scales"], ["resized"],
         {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}),
        ("Transpose", ["resized"], ["larger"], {"perm": [0, 2, 3, 1]}),
    ]  # fmt: skip
    constants = {"full": np.float32(255), "scales": np.array([1, 1, scale, scale], np.float32)}
    model = _model(
        nodes,
        [("image", "uint8", ["n", "h", "w", channels])],
        [("larger", "float32", ["n", "h2", "w2", channels])],
        constants,
    )
    return model, lambda image: image.repeat(scale, 1).repeat(scale, 2).astype(np.float32) / np.float32(255)
