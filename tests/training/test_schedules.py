"""Learning rates by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_mrcnn.config import StageConfig
from keras_mrcnn.training.schedules import Scaled, Warmup, make_schedule, scaled_learning_rate


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


@pytest.mark.parametrize(
    ("settings", "factor"),
    [
        ({}, 1 / 8),
        ({"optimizer": "adamw"}, 1 / 8**0.5),
        ({"optimizer": "lamb"}, 1 / 8**0.5),
        ({"optimizer": "lookahead"}, 1 / 8),
        ({"optimizer": "swa", "inner_optimizer": "adamw"}, 1 / 8**0.5),
    ],
)
def test_the_rate_goes_with_the_batch_and_that_of_adaptive_optimizers_with_its_root(settings, factor):
    settings = StageConfig(learning_rate=0.4, milestones=(), warmup_steps=0, **settings)
    assert scaled_learning_rate(settings, 2) == pytest.approx(0.4 * factor)
    assert scaled_learning_rate(settings, 16) == 0.4 and scaled_learning_rate(settings, 64) > 0.4
    assert rates(make_schedule(settings, 5, batch_size=2), [0, 4]) == pytest.approx([0.4 * factor] * 2)


def test_scaled():
    constant = keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.4, 0.2])
    scaled = Scaled(constant, 0.5)
    assert rates(scaled, [0, 1, 2]) == pytest.approx([0.2, 0.2, 0.1])
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(scaled))
    assert rates(again, [0, 2]) == rates(scaled, [0, 2])
