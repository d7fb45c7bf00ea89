"""Which number format the networks compute in."""

from pathlib import Path

import tensorflow as tf

CPU_FACTS = Path("/proc/cpuinfo")
BFLOAT16_FEATURES = ("avx512_bf16", "amx_bf16")


def resolve_precision(name):
    """A Keras dtype policy for `train.precision`.

    Args:
        name: "float32", "mixed_bfloat16", "mixed_float16" (meant for GPUs; see `loss_scaling`) or "auto": bfloat16
            where the processor multiplies in it (elsewhere it is emulated, and slower than float32), float32 on a GPU.

    Returns:
        "float32", "mixed_bfloat16" or "mixed_float16".
    """
    if name != "auto":
        return name
    if tf.config.list_physical_devices("GPU"):
        return "float32"
    facts = CPU_FACTS.read_text(encoding="utf-8").split() if CPU_FACTS.is_file() else []
    return "mixed_bfloat16" if any(feature in facts for feature in BFLOAT16_FEATURES) else "float32"
