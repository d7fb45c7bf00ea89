"""Optimizers and callbacks of tensorflow-addons, for the stack of TensorFlow 2.15.

tensorflow-addons is at its end of life, so it is imported only when one of its names is chosen, and nothing
else of this package needs it. Its optimizers are Keras 2 "legacy" optimizers: `keras.Model.compile` takes
them, and the wrappers (Lookahead, SWA, MovingAverage) wrap only legacy optimizers, which are made here.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import keras

ADDONS_OPTIMIZERS = ("NovoGrad", "LAMB")
ADDONS_WRAPPERS = ("Lookahead", "SWA", "MovingAverage")
ADDONS_CALLBACKS = ("TQDMProgressBar", "TimeStopping")


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
        inner: for the wrappers, the name of the optimizer that they wrap ("SGD", "Adam", ...).
        inner_settings: for the wrappers, further settings of that optimizer, as in `{"momentum": 0.9}`.
        **settings: further settings of the named optimizer, as in `sync_period=6` or `global_clipnorm=10.0`.

    Returns:
        An optimizer for `keras.Model.compile`.

    Raises:
        ValueError: if `name` or `inner` is not known, or if `inner_settings` are given to one that wraps nothing.
        ImportError: if tensorflow-addons cannot be imported.

    Example:
        >>> optimizer = addons_optimizer("Lookahead", 0.01, inner="SGD", inner_settings={"momentum": 0.9})

    Reference:
        NovoGrad: Ginsburg et al. 2019, arXiv:1905.11286. LAMB: You et al. 2020, arXiv:1904.00962.
        Lookahead: Zhang et al. 2019, arXiv:1907.08610. SWA: Izmailov et al. 2018, arXiv:1803.05407.
    """
    _check_name("optimizer", name, ADDONS_OPTIMIZERS + ADDONS_WRAPPERS)
    if name in ADDONS_OPTIMIZERS and inner_settings:
        raise ValueError(f"Optimizer {name} wraps no other optimizer; leave inner_settings out.")
    made_by = getattr(_import_addons(name).optimizers, name)
    if name in ADDONS_OPTIMIZERS:
        return made_by(learning_rate=learning_rate, **settings)
    wrapped_class = getattr(keras.optimizers.legacy, inner, None)
    if inner == "Optimizer" or not isinstance(wrapped_class, type):
        raise ValueError(f"Optimizer {name} cannot wrap {inner!r}; set inner to a Keras optimizer such as SGD or Adam.")
    return made_by(wrapped_class(learning_rate=learning_rate, **(inner_settings or {})), **settings)


def addons_callback(name: str, **settings: Any) -> keras.callbacks.Callback:
    """Makes a callback of tensorflow-addons.

    Args:
        name: one of `ADDONS_CALLBACKS`.
        **settings: the settings of that callback, as in `seconds=3600` for `TimeStopping`.

    Returns:
        A callback for `keras.Model.fit`.

    Raises:
        ValueError: if `name` is not known.
        ImportError: if tensorflow-addons cannot be imported.

    Example:
        >>> callback = addons_callback("TimeStopping", seconds=3600)
    """
    _check_name("callback", name, ADDONS_CALLBACKS)
    return getattr(_import_addons(name).callbacks, name)(**settings)


def _check_name(kind: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise ValueError(f"tensorflow-addons has no {kind} {name!r} here; choose one of {', '.join(known)}.")


def _import_addons(wanted: str) -> Any:
    """Imports tensorflow-addons, or says in one sentence which stack to install for what was `wanted`."""
    try:
        with warnings.catch_warnings():
            # It announces its end of life on every import; the user who chose it here has read that above.
            warnings.simplefilter("ignore", UserWarning)
            return importlib.import_module("tensorflow_addons")
    # On a newer TensorFlow it is not only missing: it can also fail while it looks for what is gone.
    except (ImportError, AttributeError) as error:
        raise ImportError(
            f"{wanted} comes from tensorflow-addons, which cannot be imported here; install the addons stack "
            "(Python 3.9 to 3.11: pip install -r requirements.txt) or choose one of Keras' own."
        ) from error
