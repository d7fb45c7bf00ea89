"""What the .pth files in tests/golden hold, which torch wrote by `scripts/make_golden_torch_files.py`. NumPy alone."""

from __future__ import annotations

import numpy as np

FORMATS = (
    "float64", "float32", "float16", "bfloat16", "bool", "int64", "int32", "int16", "int8",
    "uint64", "uint32", "uint16", "uint8",
)  # fmt: skip
NUMBERS = np.array([[0, 1, 2.5], [100, 7, 0.25]])  # without rounding in every format of floating-point numbers
BASE = np.arange(24, dtype=np.float32).reshape(4, 6)
# What is done to BASE in NumPy, and in torch by the same words.
VIEWS = {
    "whole": "base",
    "transposed": "base.T",
    "rows": "base[1:3]",
    "column": "base[:, 2]",
    "every other": "base[::2, 1::3]",
    "number": "base[3, 5]",
    "none": "base[:0]",
    "sides of 1": "base[2:3, None]",
}
# A model that torch has trained for a step: a linear layer and a batch norm.
MODEL = {"0.weight": (2, 3), "0.bias": (2,), "1.weight": (2,), "1.bias": (2,), "1.running_mean": (2,),
         "1.running_var": (2,), "1.num_batches_tracked": ()}  # fmt: skip


def formats():
    """The tensors of torch_formats.pth as they are read."""
    floating = ("float64", "float32", "float16", "bfloat16")
    return {name: NUMBERS.astype("float32" if name in floating else name) for name in FORMATS}


def views():
    """The tensors of torch_views.pth and torch_legacy.pth."""
    shapes = {name: np.asarray(eval(words, {"base": BASE})) for name, words in VIEWS.items()}
    return {**shapes, "parameter": BASE, "repeated": np.full(5, 3, np.float32)}
