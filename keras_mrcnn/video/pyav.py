"""Imports PyAV, an optional package."""

from __future__ import annotations

from types import ModuleType

from keras_mrcnn.base.errors import MissingPackageError


def load_pyav() -> ModuleType:
    """Returns the module `av` of PyAV.

    Raises:
        MissingPackageError: PyAV is not installed; the message says how to install it.
    """
    try:
        import av
    except ImportError as error:
        raise MissingPackageError(
            "videos need PyAV, which is not installed: pip install 'keras_mrcnn[video]'"
        ) from error
    return av
