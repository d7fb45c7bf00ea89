"""Learning rates by hand; clipping and weight decay of the optimizers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mrcnn.config import StageConfig
from keras_mrcnn.training.optimizers import SGD, AdamW, make_optimizer
from keras_mrcnn.training.schedules import Warmup, make_schedule


def rates(schedule, steps):
    return [float(schedule(tf.constant(step, tf.int64))) for step in steps]


def test_warmup_rises_linearly_from_the_first_step():
    constant = keras.optimizers.schedules.PiecewiseConstantDecay([100], [0.4, 0.4])
    assert rates(Warmup(constant, 4), range(6)) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.4])


def test_no_warmup():
    constant = keras.optimizers.schedules.PiecewiseConstantDecay([100], [0.4, 0.4])
    assert rates(Warmup(constant, 0), [0, 1]) == pytest.approx([0.4, 0.4])


def test_warmup_survives_serialisation():
    schedule = Warmup(keras.optimizers.schedules.CosineDecay(0.1, 10), 3)
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    assert rates(again, range(10)) == rates(schedule, range(10))


def test_step_schedule_divides_by_ten_at_each_milestone():
    settings = StageConfig(learning_rate=1.0, warmup_steps=0, milestones=(0.5, 0.8))
    # Of ten steps the first five are at the full rate, three at a tenth, two at a hundredth.
    assert rates(make_schedule(settings, 10), range(10)) == pytest.approx([1.0] * 5 + [0.1] * 3 + [0.01] * 2)


def test_step_schedule_without_milestones_is_constant():
    settings = StageConfig(learning_rate=0.5, warmup_steps=0, milestones=())
    assert rates(make_schedule(settings, 3), range(3)) == [0.5] * 3


def test_cosine_schedule():
    settings = StageConfig(learning_rate=2.0, warmup_steps=0, schedule="cosine")
    expected = [2.0, 1 + np.cos(np.pi / 4), 1.0, 1 + np.cos(3 * np.pi / 4), 0.0]
    assert rates(make_schedule(settings, 4), range(5)) == pytest.approx(expected, abs=1e-6)


def test_warmup_takes_at_most_a_third_of_the_stage():
    settings = StageConfig(learning_rate=3.0, warmup_steps=500, milestones=())
    assert rates(make_schedule(settings, 9), range(5)) == pytest.approx([1.0, 2.0, 3.0, 3.0, 3.0])


@pytest.mark.parametrize("schedule", ["step", "cosine"])
@pytest.mark.parametrize("total_steps", [0, 1, 2])
def test_shortest_stages_have_a_rate(schedule, total_steps):
    settings = StageConfig(learning_rate=0.1, schedule=schedule)
    assert rates(make_schedule(settings, total_steps), [0]) == pytest.approx([0.1])


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
