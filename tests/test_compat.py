import keras

from keras_mrcnn import compat


def test_keras_3_flag_agrees_with_what_only_keras_3_has():
    # keras.ops exists on Keras 3 alone, and nothing else in this package may name it.
    assert hasattr(keras, "ops") is compat.KERAS_3
    assert isinstance(compat.KERAS_3, bool)
