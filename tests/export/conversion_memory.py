"""Converts and writes products of large matrices; prints how often their bytes fit into the memory that this took.

    python conversion_memory.py FILE.onnx

A conversion of small matrices goes first, so that what libraries need for themselves is not counted.
"""

import sys
from pathlib import Path

import tensorflow as tf

from keras_mrcnn.export.onnx import _convert, write_model

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts" / "peers"))
from peak_memory import peak_memory_mb

COUNT = 4


def convert(side, path):
    kernels = [tf.Variable(tf.random.stateless_uniform([side, side], [number, 0])) for number in range(COUNT)]

    @tf.function(input_signature=[tf.TensorSpec([None, side], name="images")])
    def detect(images):
        for kernel in kernels:
            images = tf.nn.relu(images @ kernel)
        return {"products": images}

    before = peak_memory_mb()
    write_model(_convert(detect), path, {})
    return (peak_memory_mb() - before) / (COUNT * side * side * 4 / 2**20)


if __name__ == "__main__":
    convert(32, Path(sys.argv[1]))
    print(convert(2048, Path(sys.argv[1])))
