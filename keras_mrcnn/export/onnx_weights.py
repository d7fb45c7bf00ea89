"""Keeps weights outside the graph while tf2onnx converts it.

tf2onnx and the TensorFlow functions below it copy a graph dozens of times, with every constant in it. Weights
therefore enter the conversion as inputs, which cost nothing to copy, and become constants of the finished model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    import onnx


def separate_weights(
    function: tf.types.experimental.ConcreteFunction,
) -> tuple[tf.compat.v1.GraphDef, dict[str, np.ndarray]]:
    """Returns the graph of a function with its large variables as inputs, and the values of these inputs.

    Variables with fewer than two axes, such as biases, become constants: tf2onnx merges them into other operators
    only where it knows their values.

    Args:
        function: concrete function that reads its variables but does not write them.

    Returns:
        The graph, and a dict from the names of its new inputs to arrays.
    """
    variables = {id(variable.handle): variable for variable in function.graph.variables}
    values = {}
    for outside, inside in function.graph.captures:
        if inside.op.type == "Placeholder":  # TensorFlow has turned small tensors into constants
            values[inside.name] = variables.get(id(outside), outside).numpy()
    graph = function.graph.as_graph_def()
    # Keras 2 lets XLA compile convolutions with groups, as functions that TensorFlow would not take apart.
    for inner in graph.library.function:
        inner.attr.pop("_noinline", None)
        inner.attr.pop("_XlaMustCompile", None)
    for node in graph.node:
        node.attr.pop("_XlaMustCompile", None)
    for node in graph.node:
        value = values.get(f"{node.name}:0")
        if value is not None:
            _set_value(node, value)
        elif node.op == "ReadVariableOp":
            node.op = "Identity"
            node.attr["T"].type = node.attr["dtype"].type
            del node.attr["dtype"]
    return graph, {name: value for name, value in values.items() if value.ndim > 1}


def _set_value(node, value):
    """Turns the input that stands for a variable into one of the variable's type and shape, or into a constant."""
    node.attr.clear()
    node.attr["dtype"].type = tf.as_dtype(value.dtype).as_datatype_enum
    if value.ndim > 1:
        node.attr["shape"].shape.CopyFrom(tf.TensorShape(value.shape).as_proto())
    else:
        node.op = "Const"
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))


def insert_weights(graph: onnx.GraphProto, weights: dict[str, np.ndarray]) -> None:
    """Turns the inputs that stand for weights into constants of a converted graph, in place.

    Operators that depend on constants alone, such as the transposition of a kernel, are computed here and left out.

    Args:
        graph: graph to change.
        weights: as `separate_weights` returns them.
    """
    from onnx import numpy_helper
    from onnx.reference import ReferenceEvaluator

    values, constants = dict(weights), {tensor.name: tensor for tensor in graph.initializer}
    kept = []
    for node in graph.node:
        inputs = [name for name in node.input if name]
        if values.keys().isdisjoint(inputs) or not all(name in values or name in constants for name in inputs):
            kept.append(node)
            continue
        known = {name: values[name] if name in values else numpy_helper.to_array(constants[name]) for name in inputs}
        values.update(zip(node.output, ReferenceEvaluator(node).run(None, known)))
    used = {name for node in kept for name in node.input}
    _replace(graph.node, kept)
    _replace(graph.input, [value for value in graph.input if value.name not in weights])
    _replace(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in used])
    for name in values.keys() & used:
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values.pop(name)), name))


def _replace(field, messages):
    """Replaces the content of a repeated field of protobuf by these messages."""
    del field[:]
    field.extend(messages)
