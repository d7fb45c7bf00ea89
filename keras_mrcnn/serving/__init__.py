"""Clients of exported models: `OnnxPredictor` runs an ONNX file, `TFServingClient` asks a server.

Both are imported when they are first used, and neither needs TensorFlow (but gRPC, whose messages do).
"""

import importlib

_MODULES = {"OnnxPredictor": "onnx_predictor", "TFServingClient": "tf_serving_client"}
__all__ = list(_MODULES)


def __getattr__(name):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
