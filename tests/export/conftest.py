"""The small model with each neck, exported once for all tests here."""

import collections

import onnxruntime
import pytest
import tensorflow as tf
from export.models import confident_model

from keras_mrcnn.export.onnx import export_onnx
from keras_mrcnn.export.saved_model import export_saved_model
from keras_mrcnn.mask_rcnn.detector import Detector

Exported = collections.namedtuple("Exported", "detector saved_model_path onnx_path run_saved_model run_onnx")


@pytest.fixture(scope="session", params=["fpn", "c4"])
def exported(request, tmp_path_factory):
    model, folder = confident_model(request.param), tmp_path_factory.mktemp(request.param)
    saved_model_path = export_saved_model(model, folder / "saved")
    onnx_path = export_onnx(model, folder / "model.onnx")
    loaded = tf.saved_model.load(str(saved_model_path)).signatures["detect"]
    session = onnxruntime.InferenceSession(str(onnx_path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return Exported(
        Detector(model),
        saved_model_path,
        onnx_path,
        lambda images: {name: value.numpy() for name, value in loaded(images=tf.constant(images)).items()},
        lambda images: dict(zip(names, session.run(None, {"images": images}))),
    )
