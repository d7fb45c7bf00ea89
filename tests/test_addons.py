"""tensorflow-addons runs on Keras 2.15 only, so this file and test_compat.py alone may skip by Keras version."""

import importlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mrcnn import addons
from keras_mrcnn.compat import KERAS_3

needs_addons = pytest.mark.skipif(KERAS_3, reason="tensorflow-addons does not run on Keras 3")
INPUTS = np.array([[1.0, 2.0], [-1.0, 0.5], [0.0, -1.0], [2.0, 1.0]], np.float32)
TARGETS = np.array([[1.0], [0.0], [-1.0], [2.0]], np.float32)


def fit_line(optimizer, callbacks=(), epochs=2):
    """Fits a linear model from zero weights and returns it with its History."""
    model = keras.Sequential([keras.layers.Dense(1, kernel_initializer="zeros")])
    model.compile(optimizer, "mse", jit_compile=False)
    data = tf.data.Dataset.from_tensor_slices((INPUTS, TARGETS)).batch(4)
    return model, model.fit(data, epochs=epochs, verbose=0, callbacks=list(callbacks))


@needs_addons
@pytest.mark.parametrize("name", addons.ADDONS_OPTIMIZERS + addons.ADDONS_WRAPPERS)
def test_every_optimizer_lowers_the_loss(name):
    settings = {"inner": "Adam"} if name in addons.ADDONS_WRAPPERS else {}
    model, history = fit_line(addons.addons_optimizer(name, 0.05, **settings), epochs=4)
    losses = history.history["loss"]
    assert losses[0] == pytest.approx(1.5)  # mean of 1, 0, 1, 4: the weights start at zero
    assert losses[-1] < losses[0]
    assert type(model.optimizer).__name__ == name


@needs_addons
def test_lookahead_steps_half_way_back_at_its_period():
    # With a period of 1, Lookahead takes half of each step of the optimizer that it wraps. Zero weights, so the
    # gradient of the mean square error is -2 * mean(x * y), and SGD at rate 0.1 steps to 0.2 * mean(x * y).
    optimizer = addons.addons_optimizer("Lookahead", 0.1, inner="SGD", sync_period=1, slow_step_size=0.5)
    model, _ = fit_line(optimizer, epochs=1)
    expected = 0.5 * 0.2 * (INPUTS * TARGETS).mean(axis=0)
    np.testing.assert_allclose(model.get_weights()[0][:, 0], expected, rtol=1e-5)


@needs_addons
def test_settings_and_schedule_reach_the_optimizers():
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([10], [0.3, 0.1])
    optimizer = addons.addons_optimizer("NovoGrad", schedule, beta_1=0.5, global_clipnorm=2.0)
    assert optimizer.beta_1 == 0.5
    assert optimizer.global_clipnorm == 2.0
    assert float(optimizer.learning_rate(0)) == pytest.approx(0.3)
    wrapper = addons.addons_optimizer("SWA", 0.25, inner="SGD", inner_settings={"momentum": 0.75}, average_period=3)
    inner = wrapper.get_config()["optimizer"]["config"]
    assert (inner["learning_rate"], inner["momentum"]) == (0.25, 0.75)
    assert wrapper.get_config()["average_period"] == 3


@needs_addons
def test_clipping_set_on_a_wrapper_limits_the_step():
    optimizer = addons.addons_optimizer("MovingAverage", 1.0, global_clipnorm=0.01, average_decay=0.0)
    model, _ = fit_line(optimizer, epochs=1)
    step = np.concatenate([weight.ravel() for weight in model.get_weights()])
    assert np.linalg.norm(step) == pytest.approx(0.01, rel=1e-4)


@needs_addons
def test_callbacks_run_in_fit(capfd):
    _, history = fit_line("sgd", [addons.addons_callback("TQDMProgressBar")])
    assert len(history.history["loss"]) == 2
    assert "Training" in "".join(capfd.readouterr())
    _, history = fit_line("sgd", [addons.addons_callback("TimeStopping", seconds=0)], epochs=50)
    assert len(history.history["loss"]) == 1


@needs_addons
def test_refuses_to_wrap_what_is_no_optimizer():
    for inner in ("Nonsense", "Optimizer", "__doc__"):
        with pytest.raises(ValueError, match=f"Lookahead cannot wrap '{inner}'; set inner"):
            addons.addons_optimizer("Lookahead", inner=inner)


def test_refuses_unknown_names():
    with pytest.raises(ValueError, match="no optimizer 'AdamW' here; choose one of NovoGrad, LAMB, Lookahead, SWA"):
        addons.addons_optimizer("AdamW")
    with pytest.raises(ValueError, match="no callback 'NovoGrad' here; choose one of TQDMProgressBar, TimeStopping"):
        addons.addons_callback("NovoGrad")


def test_refuses_inner_settings_where_nothing_is_wrapped():
    with pytest.raises(ValueError, match="LAMB wraps no other optimizer; leave inner_settings out"):
        addons.addons_optimizer("LAMB", inner_settings={"momentum": 0.9})


@pytest.mark.parametrize("error", [ImportError("no such module"), AttributeError("keras has no such name")])
def test_names_the_stack_where_addons_cannot_be_imported(monkeypatch, error):
    def fail(name):
        assert name == "tensorflow_addons"
        raise error

    monkeypatch.setattr(importlib, "import_module", fail)
    sentence = "comes from tensorflow-addons, which cannot be imported here; install the addons stack .*requirements"
    with pytest.raises(ImportError, match="NovoGrad " + sentence):
        addons.addons_optimizer("NovoGrad")
    with pytest.raises(ImportError, match="TimeStopping " + sentence):
        addons.addons_callback("TimeStopping", seconds=1)


@pytest.mark.skipif(not KERAS_3, reason="tensorflow-addons is installed on the stack of Keras 2.15")
def test_on_keras_3_the_sentence_comes_without_a_stand_in():
    with pytest.raises(ImportError, match="install the addons stack"):
        addons.addons_optimizer("LAMB")


def test_our_module_does_not_import_tensorflow_addons():
    program = "import sys, keras_mrcnn.addons; sys.exit('tensorflow_addons' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
