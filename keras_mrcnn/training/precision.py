"""Chooses the number format in which the networks compute."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

CPU_INFO = Path("/proc/cpuinfo")
BFLOAT16_FEATURES = ("avx512_bf16", "amx_bf16")


def resolve_precision(name: str) -> str:
    """Returns the Keras dtype policy for `train.precision`.

    Args:
        name: "float32", "mixed_bfloat16", "mixed_float16" (meant for GPUs; see `loss_scaling`) or "auto": bfloat16
            on processors that multiply in it (others emulate it, slower than float32), float32 on a GPU.

    Returns:
        "float32", "mixed_bfloat16" or "mixed_float16".
    """
    if name != "auto":
        return name
    if tf.config.list_physical_devices("GPU"):
        return "float32"
    words = CPU_INFO.read_text(encoding="utf-8").split() if CPU_INFO.is_file() else []
    return "mixed_bfloat16" if any(feature in words for feature in BFLOAT16_FEATURES) else "float32"
