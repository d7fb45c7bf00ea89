"""The one place that asks which Keras is installed.

Everything else runs unchanged on Keras 2.15 and on Keras 3; read `KERAS_3` only where no spelling serves both.
"""

from __future__ import annotations

import keras

KERAS_3: bool = int(keras.__version__.split(".")[0]) >= 3
