"""A run plans its stages for the minutes that it has, by a clock that only steps move; and what a watch measures."""

import types

import pytest
from small_training import changed, small_run, snapshot, with_training

from keras_mrcnn.config import load_config
from keras_mrcnn.training import rehearsal as rehearsal_module
from keras_mrcnn.training import trainer as trainer_module
from keras_mrcnn.training.callbacks import StopOnNonFiniteLoss
from keras_mrcnn.training.rehearsal import ScoringSeconds, StageWatch
from keras_mrcnn.training.trainer import StagedTrainer

NOTHING = {"epochs": 0}


@pytest.fixture
def clock(monkeypatch):
    """The clock of the trainer and of its rehearsal."""
    clock = types.SimpleNamespace(now=100.0)
    clock.monotonic = lambda: clock.now
    for module in (trainer_module, rehearsal_module):
        monkeypatch.setattr(module, "time", clock)
    return clock


def test_a_run_ends_within_its_minutes(scenes, tmp_path, monkeypatch, clock):
    class Ticking(StopOnNonFiniteLoss):
        """A step takes a second, the first one five more, and the end of an epoch half a second."""

        def on_train_begin(self, logs=None):
            clock.now += 5

        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            clock.now += 1

        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            clock.now += 0.5

    monkeypatch.setattr(trainer_module, "StopOnNonFiniteLoss", Ticking)
    box = {"epochs": 2, "steps_per_epoch": 12, "warmup_steps": "auto"}
    asked = with_training(small_run(scenes, validate=False, rpn=NOTHING, box=box, mask=NOTHING), minutes=1)
    trainer = StagedTrainer(asked, tmp_path / "run", verbose=0)
    assert clock.now == pytest.approx(100 + 5 + 16 + 0.5)
    before = snapshot(trainer.model)
    trainer.fit()
    # 38.5 seconds are left, of which 5 % are kept, 5 begin the stage, and 1 is the first step's.
    stage = trainer.config.train.box
    assert (stage.epochs, stage.steps_per_epoch, stage.warmup_steps) == (3, 9, 3)
    assert clock.now - 100 == pytest.approx(21.5 + 5 + 27 + 1.5) and trainer.config.train.minutes is None
    saved = load_config(tmp_path / "run" / "config.yaml")
    assert saved == trainer.config
    assert {path.name for path in tmp_path.iterdir()} == {"run"}
    # A resumed run keeps the plan, whatever the settings were, and the rehearsal leaves nothing in a run.
    assert StagedTrainer(asked, tmp_path / "run", resume=True, verbose=0).config == saved
    assert changed(before, snapshot(StagedTrainer(saved, tmp_path / "planned", verbose=0).model)) == set()


def test_what_a_watch_measures(tmp_path, clock):
    (tmp_path / "old.tfrecord").write_bytes(b"old")
    watch = StageWatch(tmp_path)
    watch.start()
    clock.now += 2
    (tmp_path / "new.tfrecord").write_bytes(b"new file")
    watch.on_train_begin()
    # The first step is slow, the next three may have been read ahead.
    for seconds in (10, 0.1, 0.1, 0.1, 2, 4):
        clock.now += seconds
        watch.on_train_batch_end(0)
    for seconds in (5, 1, 1):
        clock.now += seconds
        watch.on_test_batch_end(0)
    clock.now += 0.5
    watch.on_epoch_end(0)
    clock.now += 7
    watch.ended = clock.now
    assert (watch.step(), watch.validation(), watch.checkpoint()) == pytest.approx((3, 1, 0.5))
    assert [size for _, size in watch.cached] == [8] and watch.cached_image() == 0
    # All seconds but those of five steps, two of validation and the checkpoint.
    assert watch.fixed() == pytest.approx(2 + 16.3 + 7 + 0.5 + 7 - 15 - 2 - 0.5)


def test_a_watch_of_a_stage_without_steps(tmp_path, clock):
    watch = StageWatch(tmp_path / "nowhere")
    watch.start()
    clock.now += 3
    watch.ended = clock.now
    assert (watch.step(), watch.validation(), watch.checkpoint(), watch.fixed()) == (0, 0, 0, 3)


def test_seconds_of_scoring(clock):
    scoring = ScoringSeconds()
    assert scoring.of(100) == 0
    for seconds, images in ((6, 2), (1, 2), (3, 4), (1, 0)):
        clock.now += seconds
        scoring.add(images)
    # Six seconds for the first two, 4 for six more, and one for the scores of eight.
    assert scoring.of(8) == pytest.approx(11)
    assert scoring.of(98) == pytest.approx(6 + 96 * 4 / 6 + 98 / 8)
    assert scoring.of(1) == pytest.approx(6 + 1 / 8)
