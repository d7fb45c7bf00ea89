"""Clients of exported models: `OnnxPredictor` runs an ONNX file, `TFServingClient` asks a server.

Both are imported when they are first used. Neither needs TensorFlow, unless the client speaks gRPC.
"""

from __future__ import annotations

import importlib
from typing import Any

_MODULES = {"OnnxPredictor": "onnx_predictor", "TFServingClient": "tf_serving_client"}
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
