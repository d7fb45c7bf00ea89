"""Networks of keras.applications give the same detections from Python, the SavedModel and ONNX Runtime."""

from __future__ import annotations

import keras
import onnxruntime
import pytest
import tensorflow as tf
from export.models import assert_same, confident_model, noise_image, small_config

from keras_mrcnn.config import ApplicationsConfig
from keras_mrcnn.export.model_card import count_parameters
from keras_mrcnn.export.onnx import export_onnx
from keras_mrcnn.export.saved_model import export_saved_model
from keras_mrcnn.mask_rcnn.detector import Detector
from keras_mrcnn.mask_rcnn.model import MaskRCNN

LARGE = ("EfficientNetV2B0", "ConvNeXtTiny", "ResNet50V2", "DenseNet121", "MobileNetV3Large")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MobileNetV3Small", *(pytest.param(name, marks=pytest.mark.long) for name in LARGE)])
def test_same_detections(name, tmp_path):
    model = confident_model(backbone=ApplicationsConfig(name=name))
    image = noise_image(97, 131)[None]
    expected = {key: value.numpy() for key, value in Detector(model).detect(image).items()}
    assert expected["valid"] > 0

    session = onnxruntime.InferenceSession(str(export_onnx(model, tmp_path / "model.onnx")))
    names = [output.name for output in session.get_outputs()]
    assert_same(dict(zip(names, session.run(names, {"images": image}))), expected)

    detect = tf.saved_model.load(str(export_saved_model(model, tmp_path / "saved"))).signatures["detect"]
    assert_same({key: value.numpy() for key, value in detect(images=tf.constant(image)).items()}, expected)


def test_parameters_leave_out_frozen_batch_norms():
    backbone = ApplicationsConfig(name="MobileNetV3Small", arguments={"alpha": 0.35, "minimalistic": True})
    model = MaskRCNN(small_config(backbone=backbone))
    frozen = count_parameters(model)
    model.config = model.config.model_copy(update={"backbone": backbone.model_copy(update={"norm": "bn"})})
    norms = [layer for layer in model.backbone.body.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert count_parameters(model) - frozen == sum(2 * int(layer.gamma.shape[0]) for layer in norms) > 0
