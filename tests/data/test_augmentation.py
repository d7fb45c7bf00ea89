import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_mrcnn.config import ConfigError, DataConfig, load_config
from keras_mrcnn.data.augmentation import Augmentation, augmentation_settings
from keras_mrcnn.data.batching import PlannedSample

EVERYTHING = Augmentation(
    scale_jitter=(0.5, 2.0), crop=True, rotation=30.0, colour_jitter=0.4, copy_paste=0.5, flip=0.5
)


def drawn(augmentation, epoch=0, index=3, seed=1, min_sizes=(64,), num_images=10):
    return augmentation.draw(seed, PlannedSample(epoch, index), min_sizes, num_images)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"flip": 1.5}, "flip is 1.5; it is a probability"),
        ({"flip": float("nan")}, "flip is nan"),
        ({"copy_paste": -0.1}, "copy_paste is -0.1; it is a probability"),
        ({"scale_jitter": (1.0, 0.5)}, "scale_jitter is"),
        ({"scale_jitter": (0.0, 1.0)}, "scale_jitter is"),
        ({"scale_jitter": (1.0,)}, "scale_jitter is"),
        ({"scale_jitter": (1.0, float("inf"))}, "scale_jitter is"),
        ({"rotation": -1}, "rotation is -1; it is the largest angle"),
        ({"rotation": 181}, "rotation is 181"),
        ({"colour_jitter": 1.01}, "colour_jitter is 1.01; it is a strength"),
    ],
)
def test_settings_out_of_range_are_named(setting, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**setting)


@pytest.mark.parametrize("setting", ["rotation=-1", "rotation=200", "colour_jitter=2", "copy_paste=1.5", "crop=maybe"])
def test_config_refuses_them_too(setting):
    with pytest.raises(ConfigError, match=f"data.{setting.partition('=')[0]}"):
        load_config("coco-r50-fpn", (f"data.{setting}",))


def test_config_has_every_setting_with_the_same_default():
    defaults = {field.name: field.default for field in dataclasses.fields(Augmentation)}
    assert {name: DataConfig.model_fields[name].default for name in defaults} == defaults


def test_settings_of_a_run():
    config = load_config("coco-r50-fpn", ("data.rotation=5", "data.min_sizes=[640, 1400]"))
    found = augmentation_settings(config.data, config.model)
    assert (found.pop("min_size"), found.pop("max_size")) == ((640, 1400), 1400)
    assert Augmentation(**found) == Augmentation(rotation=5.0)
    plain = load_config("coco-r50-fpn")
    found = augmentation_settings(plain.data, plain.model)
    assert (found["min_size"], found["max_size"]) == (800, 1333)


def test_which_settings_need_the_outlines():
    assert not Augmentation(scale_jitter=(0.5, 2.0), colour_jitter=1.0).moves_outlines
    assert all(Augmentation(**{name: 1}).moves_outlines for name in ("crop", "rotation", "copy_paste"))


def test_nothing_is_drawn_where_all_is_off():
    plain = drawn(Augmentation(flip=0.0))
    assert (plain.index, plain.min_size, plain.flip, plain.jitter, plain.angle) == (3, 64, False, 1.0, 0.0)
    assert plain.colours == (1.0, 1.0, 1.0)
    assert plain.pasted is None


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**40), st.integers(0, 1000), st.integers(0, 9))
def test_draws_are_in_range_and_a_function_of_seed_epoch_and_image(seed, epoch, index):
    first, again = (drawn(EVERYTHING, epoch, index, seed, (48, 64)) for _ in range(2))
    for one, other in zip(first[:-1], again[:-1]):
        np.testing.assert_array_equal(one, other)
    assert (first.pasted is None) == (again.pasted is None)
    for shown in filter(None, (first, first.pasted)):
        assert 0 <= shown.index < 10
        assert shown.min_size in (48, 64)
        assert 0.5 <= shown.jitter <= 2.0
        assert -30 <= shown.angle <= 30
        assert all(0.6 <= factor <= 1.4 for factor in shown.colours)
        assert all(0 <= place < 1 for place in shown.place)


def test_draws_fill_their_ranges():
    samples = [drawn(EVERYTHING, epoch, index) for epoch in range(40) for index in range(10)]
    angles = np.array([shown.angle for shown in samples])
    assert angles.min() < -28 and angles.max() > 28 and abs(angles.mean()) < 3
    pasted = [shown.pasted for shown in samples if shown.pasted]
    assert 0.4 < len(pasted) / len(samples) < 0.6
    assert {shown.index for shown in pasted} == set(range(10))
    # What is drawn for the pasted image is drawn anew.
    assert all(shown.pasted.jitter != shown.jitter for shown in samples if shown.pasted)


def test_turning_one_on_does_not_change_what_the_others_draw():
    plain = drawn(Augmentation(scale_jitter=(0.5, 2.0)))
    more = drawn(EVERYTHING)
    assert (plain.flip, plain.jitter, plain.min_size) == (more.flip, more.jitter, more.min_size)
    np.testing.assert_array_equal(plain.seeds, more.seeds)
