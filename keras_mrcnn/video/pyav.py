"""The one place that imports PyAV, an optional package."""

from __future__ import annotations

from keras_mrcnn.base.errors import MissingPackageError


def load_pyav():
    """Returns the module `av`.

    Raises:
        MissingPackageError: it is not installed; the message says how to install it.
    """
    try:
        import av
    except ImportError as error:
        raise MissingPackageError(
            "videos need PyAV, which is not installed: pip install 'keras_mrcnn[video]'"
        ) from error
    return av
