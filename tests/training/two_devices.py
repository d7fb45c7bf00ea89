"""A program, not a test: trains the same runs on one device and on two, and evaluates so, for test_distribution.py.

    python two_devices.py CONFIGS.json FOLDER

It is a program of its own because a CPU can be divided only before TensorFlow has started.
"""

import json
import sys
from pathlib import Path

import tensorflow as tf

from keras_mrcnn.config import Config
from keras_mrcnn.data.coco import CocoDataset, load_annotations
from keras_mrcnn.evaluation.evaluator import evaluate_model
from keras_mrcnn.evaluation.tables import write_json
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.training import trainer as trainer_module
from keras_mrcnn.training.callbacks import SaveCheckpoint
from keras_mrcnn.training.distribution import Workers


class RecordLosses(SaveCheckpoint):
    """Also writes down what the progress bar shows."""

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        file = self.path.with_name(f"losses_{self.stage}.json")
        file.write_text(json.dumps({name: float(value) for name, value in logs.items()}))


def main(configs, folder):
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    trainer_module.SaveCheckpoint = RecordLosses
    two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    assert two.num_replicas_in_sync == 2
    for name, config in configs.items():
        for devices, strategy in (("one", None), ("two", two)):
            run_folder = Path(folder) / name / devices
            trainer_module.StagedTrainer(Config.model_validate(config), run_folder, strategy=strategy, verbose=0).fit()
    evaluate(Config.model_validate(configs["frozen_bn"]), Path(folder), two)


def evaluate(config, folder, two):
    """Scores one model on one device and on two; three batches leave one of two devices without work in the end."""
    content = load_annotations(config.data.train_annotations)
    data = CocoDataset({**content, "images": content["images"][:3]}, config.data.train_images)
    for devices, strategy in (("one", tf.distribute.get_strategy()), ("two", two)):
        with strategy.scope():
            model = MaskRCNN.from_preset(folder / "frozen_bn" / "one" / "model.safetensors")
        scores, results = evaluate_model(model, data, progress=False, workers=Workers(strategy))
        write_json(folder / f"evaluation_{devices}.json", {"scores": scores, "results": results})


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()), sys.argv[2])
