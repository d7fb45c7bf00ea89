import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_mrcnn.config import ConfigError, DataConfig, load_config
from keras_mrcnn.data.augmentation import Augmentation, DrawnAugmentation

EVERYTHING = Augmentation(
    scale_jitter=(0.5, 2.0), crop=True, rotation=30.0, colour_jitter=0.4, copy_paste=0.5, flip=0.5
)


@tf.function(input_signature=[tf.TensorSpec([], tf.int64)] * 2, autograph=False)
def everything(epoch, row):
    """What is drawn with `EVERYTHING`, and for the image that is pasted."""
    return tuple(EVERYTHING.draw(1, epoch, row, (48, 64), 10, pasted) for pasted in (False, True))


def drawn(augmentation, epoch=0, row=3, seed=1, min_sizes=(64,), num_images=10, pasted=False):
    epoch, row = tf.constant([epoch, row], tf.int64)
    draw = augmentation.draw(seed, epoch, row, min_sizes, num_images, pasted)
    return DrawnAugmentation(*(value.numpy() for value in draw))


def numbers(augmentation, **where):
    """All that is drawn, as plain numbers."""
    return [value.tolist() for value in drawn(augmentation, **where)]


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


def test_which_settings_need_the_outlines():
    assert not Augmentation(scale_jitter=(0.5, 2.0), colour_jitter=1.0).moves_outlines
    assert all(Augmentation(**{name: 1}).moves_outlines for name in ("crop", "rotation", "copy_paste"))


def test_nothing_is_drawn_where_all_is_off():
    plain = drawn(Augmentation(flip=0.0))
    assert (plain.row, plain.min_size, plain.flip, plain.jitter, plain.angle) == (3, 64, False, 1.0, 0.0)
    assert plain.colours.tolist() == [1.0, 1.0, 1.0]
    assert not plain.pastes


def test_types():
    kinds = {name: (value.dtype, value.shape) for name, value in drawn(EVERYTHING)._asdict().items()}
    assert kinds == {
        "row": (np.int64, ()), "seeds": (np.int32, (2,)), "min_size": (np.int32, ()), "flip": (bool, ()),
        "jitter": (np.float64, ()), "angle": (np.float64, ()), "place": (np.float64, (2,)),
        "colours": (np.float32, (3,)), "pastes": (bool, ()), "paste_row": (np.int64, ()),
    }  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**40), st.integers(0, 1000), st.integers(0, 9), st.booleans())
def test_draws_are_in_range_and_a_function_of_seed_epoch_and_image(seed, epoch, row, pasted):
    where = {"epoch": epoch, "row": row, "seed": seed, "min_sizes": (48, 64), "pasted": pasted}
    first, again = (drawn(EVERYTHING, **where) for _ in range(2))
    for one, other in zip(first, again):
        np.testing.assert_array_equal(one, other)
    assert first.row == row and 0 <= first.paste_row < 10
    assert first.min_size in (48, 64)
    assert 0.5 <= first.jitter <= 2.0
    assert -30 <= first.angle <= 30
    assert all(0.6 - 1e-6 <= factor <= 1.4 + 1e-6 for factor in first.colours)
    assert all(0 <= place < 1 for place in first.place)
    assert all(0 <= number < 2**31 - 1 for number in first.seeds)


def test_draws_fill_their_ranges():
    samples = [everything(epoch, row) for epoch in range(40) for row in range(10)]
    angles = np.array([float(own.angle) for own, _ in samples])
    assert angles.min() < -28 and angles.max() > 28 and abs(angles.mean()) < 3
    pastes = np.array([bool(own.pastes) for own, _ in samples])
    assert 0.4 < pastes.mean() < 0.6
    assert {int(own.paste_row) for own, _ in samples} == set(range(10))
    assert {int(own.min_size) for own, _ in samples} == {48, 64}
    # What is drawn for the pasted image is drawn anew.
    assert all(own.jitter != other.jitter for own, other in samples)


def test_draws_do_not_depend_on_each_other():
    samples = [everything(epoch, row)[0] for epoch in range(40) for row in range(10)]
    columns = [[float(one.jitter), float(one.angle), *one.place.numpy(), *one.colours.numpy()] for one in samples]
    correlations = np.corrcoef(np.array(columns), rowvar=False) - np.eye(7)
    assert np.abs(correlations).max() < 0.25  # five times the standard deviation of 400 pairs


def test_draws_depend_on_seed_epoch_and_image_only():
    base = numbers(EVERYTHING, seed=1, epoch=2)
    assert base == numbers(EVERYTHING, seed=1, epoch=2)
    assert numbers(EVERYTHING, seed=2**31, epoch=2) == base  # modulo the largest seed
    others = [numbers(EVERYTHING, **where) for where in ({"seed": 0, "epoch": 2}, {"epoch": 0}, {"epoch": 2, "row": 0})]
    for place in range(1, len(base)):
        name = DrawnAugmentation._fields[place]
        if name not in ("min_size", "flip", "pastes", "paste_row"):
            assert len({str(draw[place]) for draw in [base, *others]}) == 4, name


def test_pasted_image_has_draws_of_its_own():
    own, pasted = (drawn(EVERYTHING, epoch=2, pasted=pasted) for pasted in (False, True))
    assert own.jitter != pasted.jitter and own.angle != pasted.angle
    assert own.seeds.tolist() != pasted.seeds.tolist() and own.place.tolist() != pasted.place.tolist()
    assert pasted.jitter == drawn(EVERYTHING, epoch=2, pasted=True).jitter


def test_draws_stay_those_of_earlier_runs():
    # A run that is resumed must see the images that it would have seen.
    draws = drawn(EVERYTHING, epoch=2)
    assert (draws.jitter, draws.angle) == pytest.approx((1.730253361, 10.344340785), rel=1e-7)
    assert draws.seeds.tolist() == [1460947102, 1185620613]


def test_turning_one_on_does_not_change_what_the_others_draw():
    plain = drawn(Augmentation(scale_jitter=(0.5, 2.0)))
    more = drawn(EVERYTHING)
    assert (plain.flip, plain.jitter, plain.min_size) == (more.flip, more.jitter, more.min_size)
    np.testing.assert_array_equal(plain.seeds, more.seeds)
