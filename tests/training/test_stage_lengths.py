"""The lengths of the stages follow from the number of images, and numbers of the user stay as they are."""

import pytest
from small_training import with_training

from keras_mrcnn.config import Config, load_config, make_config, save_config
from keras_mrcnn.training.stage_lengths import (
    Length,
    default_passes,
    planned_lengths,
    resolve_lengths,
    steps_per_epoch,
    warmup_steps,
)


def lengths(config, num_images):
    """Epochs, steps of an epoch and warm-up of the RPN stage."""
    stage = resolve_lengths(config, num_images).train.rpn
    return stage.epochs, steps_per_epoch(stage, num_images, config.data.batch_size), stage.warmup_steps


def test_small_sets_have_more_passes_and_fewer_steps():
    assert default_passes(117_266) == 12
    assert default_passes(117_266 / 16) == pytest.approx(24)
    counts = (60, 1_000, 100_000)
    passes = [default_passes(count) for count in counts]
    assert passes == sorted(passes, reverse=True)
    assert passes[0] * counts[0] < passes[1] * counts[1] < passes[2] * counts[2]


@pytest.mark.parametrize(
    ("num_images", "batch_size", "expected"),
    [
        (60, 2, (80, 30, 240)),
        (109, 2, (69, 54, 373)),
        (100_000, 2, (12, 50_000, 500)),
        (100_000, 16, (12, 6_250, 500)),
        (117_266, 2, (12, 58_633, 500)),
        (1, 2, (111, 1, 11)),  # one image fills a batch of two in two epochs of the data
    ],
)
def test_lengths_by_hand(num_images, batch_size, expected):
    assert lengths(make_config({"data": {"batch_size": batch_size}}), num_images) == expected


def test_shorter_epochs_are_more_epochs():
    config = make_config({"train": {"rpn": {"steps_per_epoch": 10}}})
    assert lengths(config, 60) == (239, 10, 239)


def test_numbers_of_the_user_stay_and_warm_up_follows_them():
    config = make_config({"train": {"rpn": {"epochs": 3}, "box": {"epochs": 0}, "mask": {"warmup_steps": 7}}})
    train = resolve_lengths(config, 60).train
    assert (train.rpn.epochs, train.rpn.warmup_steps) == (3, 9)
    assert (train.box.epochs, train.box.warmup_steps) == (0, 0)
    assert (train.mask.epochs, train.mask.warmup_steps) == (80, 7)
    assert train.joint.epochs == 0


def test_warm_up_takes_at_most_a_third():
    stage = make_config({"train": {"rpn": {"warmup_steps": 500}}}).train.rpn
    assert [warmup_steps(stage, steps) for steps in (0, 2, 9, 6000)] == [0, 0, 3, 500]


def test_what_has_been_resolved_is_saved_and_stays(tmp_path):
    resolved = resolve_lengths(with_training(Config(), joint={"epochs": "auto"}), 60)
    assert resolved.train.joint.epochs == 80
    save_config(resolved, tmp_path / "config.yaml")
    again = load_config(tmp_path / "config.yaml")
    assert again == resolved and resolve_lengths(again, 9_999) == resolved


def test_a_plan_replaces_lengths_and_automatic_warm_ups():
    asked = make_config({"train": {"minutes": 5, "box": {"warmup_steps": 7}, "mask": {"epochs": 0}}})
    config = planned_lengths(resolve_lengths(asked, 60), asked, {"rpn": Length(2, 20), "box": Length(3, 15)}, 60)
    stages = {name: (s.epochs, s.steps_per_epoch, s.warmup_steps) for name, s in config.train if name in ("rpn", "box")}
    assert stages == {"rpn": (2, 20, 4), "box": (3, 15, 7)}
    assert config.train.mask.epochs == 0 and config.train.minutes is None
    later = planned_lengths(config, asked, {"box": Length(1, 9)}, 60)
    assert (later.train.rpn, later.train.box.epochs) == (config.train.rpn, 1)
