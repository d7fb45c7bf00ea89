import keras_mrcnn.compat  # noqa: F401 - before any module here imports Keras
