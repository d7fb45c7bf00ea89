"""Training does not take more and more memory. scripts/measure_memory.py shows the same over 1,000 steps."""

import resource

import keras
import pytest
from small_training import small_model, small_run

from keras_mrcnn.training.batches import StageBatches
from keras_mrcnn.training.memory import peak_memory_mb
from keras_mrcnn.training.run_setup import open_data
from keras_mrcnn.training.trainer import STAGE_CLASSES


def resident_mb():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


class Watch(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.megabytes = []

    def on_epoch_end(self, epoch, logs=None):
        self.megabytes.append(resident_mb())


@pytest.mark.parametrize(("name", "cache"), [("box", "on"), ("box", "off"), ("rpn", "off")])
def test_a_hundred_steps_take_no_more_memory_than_the_first(scenes, tmp_path, name, cache):
    sizes = {"min_size": 128, "max_size": 192}
    config = small_run(scenes, validate=False, **{name: {"epochs": 7, "steps_per_epoch": 20}}, **sizes)
    config = config.model_copy(update={"train": config.train.model_copy(update={"cache_features": cache})})
    batches = StageBatches(config, open_data(config, "train", tmp_path), tmp_path, print, progress=False)
    watch, stage = Watch(), STAGE_CLASSES[name](small_model(**sizes))
    stage.compile("sgd")
    stage.fit(
        batches.dataset(name, stage.mask_rcnn, 0), steps_per_epoch=20, epochs=7, callbacks=[watch], verbose=0
    )
    # A batch takes 0.4 MB as images and 0.2 MB as maps: a hundred of them that stay would be seen.
    assert watch.megabytes[-1] - watch.megabytes[1] < 10.0, watch.megabytes
    assert peak_memory_mb() > 100
