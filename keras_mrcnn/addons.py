"""Optimizers and callbacks of tensorflow-addons, for the stack of TensorFlow 2.15.

tensorflow-addons is at its end of life. This package imports it only when one of its names is chosen, and needs it for
nothing else. Its optimizers are Keras 2 "legacy" optimizers. `keras.Model.compile` takes them, but the wrappers
(Lookahead, SWA, MovingAverage) wrap legacy optimizers only, so these are made here.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import keras

from keras_mrcnn.base.errors import MissingPackageError, UserError

# Their names in the settings and in tensorflow-addons.
ADDONS_OPTIMIZERS = {"novograd": "NovoGrad", "lamb": "LAMB"}
ADDONS_WRAPPERS = {"lookahead": "Lookahead", "swa": "SWA", "moving_average": "MovingAverage"}
ADDONS_CALLBACKS = {"tqdm": "TQDMProgressBar"}


def addons_optimizer(
    name: str,
    learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 0.001,
    *,
    inner: str = "SGD",
    inner_settings: dict[str, Any] | None = None,
    **settings: Any,
) -> keras.optimizers.Optimizer:
    """Makes an optimizer of tensorflow-addons.

    Args:
        name: one of `ADDONS_OPTIMIZERS` or `ADDONS_WRAPPERS`.
        learning_rate: a number or a Keras schedule.
        inner: for a wrapper, the name of the optimizer that it wraps: a legacy one of Keras ("SGD", "Adam", ...) or one
            of tensorflow-addons ("SGDW", "AdamW", ...).
        inner_settings: for a wrapper, further settings of that optimizer, as in `{"momentum": 0.9}`.
        **settings: further settings of the named optimizer, as in `sync_period=6` or `global_clipnorm=10.0`.

    Returns:
        An optimizer for `keras.Model.compile`.

    Raises:
        ValueError: `name` or `inner` is unknown, or there are `inner_settings` but the optimizer wraps no other.
        ImportError: tensorflow-addons cannot be imported.

    Example:
        >>> optimizer = addons_optimizer("lookahead", 0.01, inner="SGD", inner_settings={"momentum": 0.9})

    Reference:
        NovoGrad: Ginsburg et al. 2019, arXiv:1905.11286. LAMB: You et al. 2020, arXiv:1904.00962.
        Lookahead: Zhang et al. 2019, arXiv:1907.08610. SWA: Izmailov et al. 2018, arXiv:1803.05407.
    """
    class_name = _class_name("optimizer", name, {**ADDONS_OPTIMIZERS, **ADDONS_WRAPPERS})
    if name in ADDONS_OPTIMIZERS and inner_settings:
        raise UserError(f"Optimizer {name} wraps no other optimizer; leave inner_settings out.")
    optimizers = _import_addons(name).optimizers
    if name in ADDONS_OPTIMIZERS:
        settings["learning_rate"] = learning_rate
    else:
        legacy = keras.optimizers.legacy
        inner_class = getattr(optimizers, inner, None) or getattr(legacy, inner, None)
        if inner == "Optimizer" or not (isinstance(inner_class, type) and issubclass(inner_class, legacy.Optimizer)):
            raise UserError(f"Optimizer {name} cannot wrap {inner!r}; set inner to one such as SGD, SGDW or Adam.")
        settings["optimizer"] = inner_class(learning_rate=learning_rate, **(inner_settings or {}))
    optimizer = getattr(optimizers, class_name)(**settings)
    # Newer optimizers call the method `build` that makes their variables ahead of the first step.
    optimizer.build = optimizer._create_all_weights
    return optimizer


def addons_callback(name: str, **settings: Any) -> keras.callbacks.Callback:
    """Makes a callback of tensorflow-addons.

    Args:
        name: one of `ADDONS_CALLBACKS`.
        **settings: settings of the callback, as in `metrics_separator=", "` for `tqdm`.

    Returns:
        A callback for `keras.Model.fit`.

    Raises:
        ValueError: `name` is unknown.
        ImportError: tensorflow-addons cannot be imported.

    Example:
        >>> callback = addons_callback("tqdm")
    """
    class_name = _class_name("callback", name, ADDONS_CALLBACKS)
    return getattr(_import_addons(name).callbacks, class_name)(**settings)


def _class_name(kind: str, name: str, known: dict[str, str]) -> str:
    if name not in known:
        raise UserError(f"tensorflow-addons has no {kind} {name!r} here; choose one of {', '.join(known)}.")
    return known[name]


def _import_addons(name: str) -> Any:
    """Imports tensorflow-addons for the optimizer or callback `name`; the error says which stack to install."""
    try:
        with warnings.catch_warnings():
            # It announces its end of life on every import.
            warnings.simplefilter("ignore", UserWarning)
            return importlib.import_module("tensorflow_addons")
    # On a newer TensorFlow it may be installed and still fail, because it uses parts of TensorFlow that are gone.
    except (ImportError, AttributeError) as error:
        raise MissingPackageError(
            f"{name} comes from tensorflow-addons, which cannot be imported here; install the addons stack "
            "(Python 3.9 to 3.11: pip install -r requirements.txt) or choose one of Keras' own."
        ) from error
