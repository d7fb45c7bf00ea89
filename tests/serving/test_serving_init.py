"""The public names of keras_mrcnn.serving."""

import pytest

from keras_mrcnn import serving
from keras_mrcnn.serving.onnx_predictor import OnnxPredictor
from keras_mrcnn.serving.tf_serving_client import TFServingClient


def test_names():
    assert serving.OnnxPredictor is OnnxPredictor and serving.TFServingClient is TFServingClient
    with pytest.raises(AttributeError, match="no attribute 'Predictor'; it has OnnxPredictor, TFServingClient"):
        serving.Predictor  # noqa: B018
