"""The weights of the best epoch are kept, survive a checkpoint, and are those of the average where there is one."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from small_training import BOX_HEAD, changed, endless, make_batch, small_model, snapshot

from keras_mrcnn.training.best_weights import BestWeights
from keras_mrcnn.training.checkpoint import restore_best, save_checkpoint
from keras_mrcnn.training.distribution import Workers
from keras_mrcnn.training.stages import BoxStage
from keras_mrcnn.training.weight_average import WeightAverage


@pytest.fixture
def stage():
    stage = BoxStage(small_model())
    stage.compile(keras.optimizers.SGD(1e-2), run_eagerly=True)
    stage.best_weights = BestWeights(stage, Workers(tf.distribute.get_strategy()))
    return stage


def set_bias(stage, value):
    bias = stage.mask_rcnn.box_head.classes.bias
    bias.assign(np.full(bias.shape, value))


def epochs(stage, losses):
    """Ends epochs with those validation losses; the bias of epoch n is n."""
    for epoch, loss in enumerate(losses):
        set_bias(stage, epoch + 1.0)
        stage.best_weights.on_epoch_end(epoch, {} if loss is None else {"val_loss": loss})


@pytest.mark.parametrize(
    ("losses", "best"),
    [([3.0, 1.0, 2.0], 2), ([3.0, 2.0, 1.0], 3), ([1.0, 1.0], 1), ([float("nan"), 2.0], 2), ([None, 5.0, None], 2)],
)
def test_the_lowest_loss_wins_and_the_first_of_equals(stage, losses, best):
    before = snapshot(stage.mask_rcnn)
    epochs(stage, losses)
    set_bias(stage, 99.0)
    assert stage.best_weights.assign() and stage.best_weights.epoch == best
    bias = stage.mask_rcnn.box_head.classes.bias.numpy()
    np.testing.assert_array_equal(bias, np.full(bias.shape, best))
    assert changed(before, snapshot(stage.mask_rcnn)) == {"roi_heads.box_predictor.cls_score.bias"}


@pytest.mark.parametrize("losses", [[], [float("nan")], [None]])
def test_without_a_validation_loss_there_is_no_best_epoch(stage, losses):
    epochs(stage, losses)
    before = snapshot(stage.mask_rcnn)
    assert not stage.best_weights.assign()
    assert changed(before, snapshot(stage.mask_rcnn)) == set()


class Scores:
    """Gives scores one after the other, and keeps the bias of the model that each is for."""

    def __init__(self, stage, scores):
        self.stage, self.scores, self.biases = stage, list(scores), []

    def __call__(self):
        self.biases.append(float(self.stage.mask_rcnn.box_head.classes.bias.numpy()[0]))
        return self.scores[len(self.biases) - 1]


@pytest.mark.parametrize(
    ("scores", "every", "scored", "best"),
    [
        ([0.1, 0.3, 0.3, 0.2], 1, [1, 2, 3, 4], 2),
        ([None, 0.0, None, None], 1, [1, 2, 3, 4], 2),
        ([0.1, 0.2], 3, [3, 4], 4),  # the last epoch is scored too
        ([0.5], 9, [4], 4),
    ],
)
def test_the_highest_score_wins(stage, scores, every, scored, best):
    score = Scores(stage, scores)
    stage.best_weights = BestWeights(stage, stage.best_weights.workers, score=score, score_every=every)
    stage.best_weights.set_params({"epochs": 4})
    epochs(stage, [1.0, 2.0, 3.0, 4.0])
    assert score.biases == scored and stage.best_weights.epoch == best
    assert stage.best_weights.value == max(value for value in scores if value is not None)
    assert stage.best_weights.values[0].dtype == np.float32


def test_scores_are_in_the_logs_and_of_the_average(stage):
    stage.weight_average = average = WeightAverage(stage, 0.5)
    score = Scores(stage, [0.25])
    best = BestWeights(stage, stage.best_weights.workers, score=score)
    best.set_params({"epochs": 9})
    before = float(stage.mask_rcnn.box_head.classes.bias.numpy()[0])
    average.on_train_batch_end(0)
    set_bias(stage, 7.0)
    logs = {"loss": 1.0}
    best.on_epoch_end(0, logs)
    assert logs == {"loss": 1.0, "val_score": 0.25}
    assert score.biases == [before] and stage.mask_rcnn.box_head.classes.bias.numpy()[0] == 7.0


@pytest.mark.parametrize(
    ("losses", "patience", "ends"),
    [([3.0, 1.0, 2.0, 2.0, 0.5], 2, 4), ([3.0, 2.0, 1.0], 1, None), ([1.0, 2.0], 1, 2), ([float("nan")] * 3, 3, 3)],
)
def test_a_stage_ends_when_its_best_epoch_is_too_long_ago(stage, losses, patience, ends):
    stage.best_weights = BestWeights(stage, stage.best_weights.workers, patience)
    ended = []
    for epoch, loss in enumerate(losses):
        stage.stop_training = False
        stage.best_weights.on_epoch_end(epoch, {"val_loss": loss})
        ended += [epoch + 1] * stage.stop_training
        # What a resumed run knows, from the checkpoint of this epoch, leads to the same.
        assert stage.best_weights.is_exhausted(epoch + 1) == stage.stop_training
    assert ended[:1] == ([] if ends is None else [ends])


def test_patience_counts_when_there_is_a_score(stage):
    scores = Scores(stage, [0.5, 0.4])
    best = BestWeights(stage, stage.best_weights.workers, patience=2, score=scores, score_every=3)
    assert [best.is_exhausted(epochs) for epochs in range(1, 6)] == [False, False, True, False, False]
    best.set_params({"epochs": 99})
    best.on_epoch_end(2, {})
    assert [best.is_exhausted(epochs) for epochs in range(3, 7)] == [False, False, False, True]


@pytest.mark.parametrize("losses", [[0.1 + 0.2, 1.0], []])
def test_a_checkpoint_brings_the_best_epoch_back(stage, tmp_path, losses):
    epochs(stage, losses)
    save_checkpoint(tmp_path / "checkpoint", stage, "box", 2)
    again = BestWeights(stage, stage.best_weights.workers)
    restore_best(tmp_path / "checkpoint", again)
    best = stage.best_weights
    by_score = BestWeights(stage, best.workers, score=lambda: 0.5)
    restore_best(tmp_path / "checkpoint", by_score)
    assert by_score.epoch == 0, "losses and scores cannot be compared"
    assert (again.epoch, again.value) == (best.epoch, best.value)
    assert [value.tobytes() for value in again.values] == [value.tobytes() for value in best.values]


def test_validation_and_best_weights_are_those_of_the_average(stage):
    stage.weight_average = average = WeightAverage(stage, 0.9)
    validation = endless(make_batch(seed=1)).take(1)
    seen = []

    class Look(keras.callbacks.Callback):
        def on_test_batch_end(self, batch, logs=None):
            seen.append(snapshot(stage.mask_rcnn))

    history = stage.fit(
        endless(make_batch()), steps_per_epoch=3, validation_data=validation, verbose=0,
        callbacks=[average, stage.best_weights, Look()],
    ).history  # fmt: skip
    trained = snapshot(stage.mask_rcnn)
    assert {name for name in changed(seen[0], trained) if not name.startswith(BOX_HEAD)} == set()
    assert changed(seen[0], trained)
    stage.best_weights.assign()
    assert changed(seen[0], snapshot(stage.mask_rcnn)) == set()
    assert stage.evaluate(validation, verbose=0)[0] == pytest.approx(history["val_loss"][0], rel=1e-6)
