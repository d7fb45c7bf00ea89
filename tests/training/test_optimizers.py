"""Clipping and weight decay of the optimizers; what is refused. Those of tensorflow-addons are in test_addons.py."""

import importlib
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from keras_mrcnn.config import ConfigError, StageConfig, make_config
from keras_mrcnn.training.optimizers import SGD, AdamW, make_optimizer


@pytest.mark.parametrize(("name", "expected"), [("sgd", SGD), ("adamw", AdamW)])
def test_make_optimizer(name, expected):
    optimizer = make_optimizer(StageConfig(optimizer=name, weight_decay=0.25, clip_norm=3.0), 10)
    assert isinstance(optimizer, expected)
    assert optimizer.weight_decay == 0.25
    assert optimizer.clip_norm == 3.0
    again = expected.from_config(optimizer.get_config())
    assert again.clip_norm == 3.0


def step_of(optimizer, gradients):
    """By how much one step changes variables that are zero."""
    variables = [tf.Variable(tf.zeros_like(gradient)) for gradient in gradients]
    optimizer.build(variables)
    optimizer.apply_gradients(zip(gradients, variables))
    return [variable.numpy().tolist() for variable in variables]


def test_all_gradients_together_are_clipped():
    gradients = [tf.constant([3.0, 0.0]), tf.constant([4.0])]  # of norm 5
    assert step_of(SGD(1.0, clip_norm=2.5), gradients) == [[-1.5, 0.0], [-2.0]]
    assert step_of(SGD(1.0, clip_norm=5.0), gradients) == [[-3.0, 0.0], [-4.0]]
    assert step_of(SGD(1.0, clip_norm=10.0), gradients) == [[-3.0, 0.0], [-4.0]]
    assert step_of(SGD(1.0), gradients) == [[-3.0, 0.0], [-4.0]]


def test_no_gradient_at_all_can_be_clipped():
    assert step_of(SGD(1.0, clip_norm=1.0), [tf.zeros([2])]) == [[0.0, 0.0]]


def test_weight_decay_is_decoupled_from_the_gradient():
    variable = tf.Variable([2.0])
    optimizer = SGD(0.5, momentum=0.9, weight_decay=0.1)
    optimizer.build([variable])
    for _ in range(2):
        optimizer.apply_gradients([(tf.zeros([1]), variable)])
    # 2 * (1 - 0.5 * 0.1) ** 2: no momentum of the decay
    np.testing.assert_allclose(variable.numpy(), [1.805], rtol=1e-6)


ADDONS = ["novograd", "lamb", "lookahead", "swa", "moving_average"]


@pytest.mark.parametrize("name", ADDONS)
def test_the_stack_is_named_where_addons_cannot_be_imported(monkeypatch, name):
    def fail(module):
        raise ImportError(module)

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(ImportError, match=f"^{name} comes from tensorflow-addons, .*requirements.txt.*own\\.$"):
        make_optimizer(StageConfig(optimizer=name), 10)


@pytest.mark.parametrize("name", ADDONS)
def test_addons_have_no_loss_scaling(name):
    with pytest.raises(ValueError, match=f"^optimizer {name} has no loss scaling for mixed_float16; use sgd or adamw"):
        make_optimizer(StageConfig(optimizer=name), 10, "mixed_float16")


def test_an_average_that_would_never_begin_is_refused():
    settings = StageConfig(optimizer="swa", optimizer_settings={"start_averaging": 10})
    with pytest.raises(ValueError, match="start_averaging 10 is not before the end of the stage at step 10"):
        make_optimizer(settings, 10)


def test_an_average_that_is_wrong_on_several_devices_is_refused(monkeypatch):
    monkeypatch.setattr(tf.distribute, "get_strategy", lambda: SimpleNamespace(num_replicas_in_sync=2))
    with pytest.raises(ValueError, match="optimizer swa averages wrongly on 2 devices; set average, or"):
        make_optimizer(StageConfig(optimizer="swa"), 10)


@pytest.mark.parametrize(
    ("stage", "sentence"),
    [
        ({"optimizer_settings": {"sync_period": 6}}, "are for optimizers of tensorflow-addons, not for sgd"),
        ({"optimizer": "swa", "average": 0.9}, "optimizer swa averages the weights already; leave average out"),
        ({"optimizer": "moving_average", "average": 0.9}, "moving_average averages the weights already"),
        ({"average": 1.0}, "train.box.average: .* less than 1"),
        ({"patience": 0}, "train.box.patience: .* greater than 0"),
        ({"epochs": -1}, "train.box.epochs: .*must be auto or a whole number from 0 on .got -1"),
        ({"epochs": 1.5}, "train.box.epochs: .*must be auto or a whole number"),
        ({"warmup_steps": "long"}, "train.box.warmup_steps: .*must be auto or a whole number .*'long'"),
        ({"epochs": True}, "train.box.epochs: .*must be auto or a whole number"),
        ({"progress": "dots"}, "train.box.progress: .*'keras' or 'tqdm'"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(stage, sentence):
    with pytest.raises(ConfigError, match=sentence):
        make_config({"train": {"box": stage}})


def test_the_joint_stage_is_off_unless_it_is_given_epochs():
    assert make_config({}).train.joint.epochs == 0
    assert make_config({"train": {"joint": {"optimizer": "adamw"}}}).train.joint.epochs == 0
    assert make_config({"train": {"joint": {"epochs": 2}}}).train.joint.epochs == 2
