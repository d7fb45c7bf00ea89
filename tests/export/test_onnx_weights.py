"""Weights outside the graph during its conversion: what goes in, what comes out, and what memory it takes."""

import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf
from child_programs import run_child
from onnx import TensorProto, helper, numpy_helper

from keras_mrcnn.export.onnx_weights import insert_weights, separate_weights

KERNEL, BIAS = np.float32([[1, 2, 3], [4, 5, 6]]), np.float32([10, 20, 30])
SMALL, LARGE = np.float32([[100], [200]]), np.float32([[100] * 90, [200] * 90])


def test_kernels_leave_the_graph_and_biases_stay():
    kernel, bias, small, large = tf.Variable(KERNEL), tf.Variable(BIAS), tf.constant(SMALL), tf.constant(LARGE)

    @tf.function(input_signature=[tf.TensorSpec([None, 2], name="x")])
    def function(x):
        return x @ kernel + bias, x @ small, x @ large, x @ kernel

    concrete = function.get_concrete_function()
    graph, weights = separate_weights(concrete)
    assert sorted(value.tolist() for value in weights.values()) == sorted([KERNEL.tolist(), LARGE.tolist()])
    assert [node.op for node in graph.node].count("ReadVariableOp") == 0
    inputs = {"x:0": np.float32([[1, -1]]), **weights}
    with tf.Graph().as_default() as imported, tf.compat.v1.Session() as session:
        tf.import_graph_def(graph, name="")
        assert {name: imported.get_tensor_by_name(name).shape.as_list() for name in weights} == {
            name: list(value.shape) for name, value in weights.items()
        }
        found = session.run([output.name for output in concrete.outputs], inputs)
    assert [value.tolist() for value in found] == [[[7, 17, 27]], [[-100]], [[-100] * 90], [[-3, -3, -3]]]


def test_a_function_without_variables_keeps_its_graph():
    concrete = tf.function(lambda x: x + 1, input_signature=[tf.TensorSpec([])]).get_concrete_function()
    graph, weights = separate_weights(concrete)
    assert weights == {} and graph == concrete.graph.as_graph_def()


def test_what_depends_on_weights_alone_is_computed_once():
    nodes = [
        helper.make_node("Transpose", ["kernel"], ["turned"], perm=[1, 0]),
        helper.make_node("Mul", ["turned", "two"], ["doubled"]),
        helper.make_node("MatMul", ["x", "doubled"], ["y"]),
        helper.make_node("MatMul", ["y", "kernel"], ["z"]),
        helper.make_node("Clip", ["z", "", "ten"], ["clipped"]),
    ]
    value, number = helper.make_tensor_value_info, numpy_helper.from_array
    shapes = {"x": ["n", 3], "kernel": [2, 3]}
    graph = helper.make_graph(
        nodes,
        "graph",
        [value(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [value("clipped", TensorProto.FLOAT, ["n", 3])],
        [number(np.float32(2), "two"), number(np.float32(10), "ten")],
    )
    insert_weights(graph, {"kernel": KERNEL})
    assert [node.op_type for node in graph.node] == ["MatMul", "MatMul", "Clip"]
    assert [entry.name for entry in graph.input] == ["x"]
    held = {tensor.name: numpy_helper.to_array(tensor).tolist() for tensor in graph.initializer}
    assert held == {"doubled": (2 * KERNEL.T).tolist(), "kernel": KERNEL.tolist(), "ten": 10}
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": np.float32([[1, 0, -1]])})
    assert found.tolist() == [[-20, -28, -36]]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process its own peak of memory")
def test_conversion_takes_a_few_times_the_memory_of_the_weights(tmp_path):
    done = run_child(Path(__file__).with_name("conversion_memory.py"), tmp_path / "products.onnx", timeout=900)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 10
