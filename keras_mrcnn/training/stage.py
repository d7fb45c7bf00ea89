"""What the stages share: freezing, their losses as Keras metrics, saving, normalisers over all replicas."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from keras_mrcnn.compat import KERAS_3
from keras_mrcnn.mask_rcnn.model import MaskRCNN


class Stage(keras.Model):
    """What the stages share: a Keras model around a `MaskRCNN` that trains one part of it.

    `compile` takes any optimizer, `fit` and `evaluate` take any callbacks, and `fit` takes `validation_data`. The
    losses are the stage's own; `history.history` has each by its name, and with `val_` before it that of validation.

    Args:
        mask_rcnn: the model to train.
    """

    loss_names: tuple[str, ...] = ()
    weight_average = None  # a `WeightAverage` where the stage is to end with one
    best_weights = None  # a `BestWeights` where the stage is to end with those of its best epoch

    def __init__(self, mask_rcnn: MaskRCNN, **kwargs: Any):
        # Boxes of the batch must not be rounded, whatever the policy of the networks.
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.mask_rcnn = mask_rcnn
        self.trackers = [keras.metrics.Mean(name=name) for name in ("loss", *self.loss_names)]
        self.built = True  # all weights exist already

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs; whole stages can be saved as `.keras` files."""
        return {"name": self.name, "mask_rcnn": keras.saving.serialize_keras_object(self.mask_rcnn)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict | None = None) -> Stage:
        """Makes a stage, with a new `MaskRCNN`, from what `get_config` has returned."""
        model = keras.saving.deserialize_keras_object(config["mask_rcnn"], custom_objects=custom_objects)
        return cls(model, name=config["name"])

    def compile(self, optimizer: Any = "sgd", **kwargs: Any) -> None:
        """Works as `keras.Model.compile`, but for the losses, which are the stage's own.

        Args:
            optimizer: a Keras optimizer or its name.
            **kwargs: of `keras.Model.compile`. `jit_compile` is always off: XLA has no such NMS.

        Raises:
            ValueError: a loss is given.
        """
        if kwargs.get("loss") is not None:
            raise ValueError(f"loss: {type(self).__name__} has losses of its own, {', '.join(self.loss_names)}; "
                             "leave loss out")
        self.freeze()
        super().compile(**{**kwargs, "optimizer": optimizer, "jit_compile": False})
        # All weights exist, so its slots can too: weights that Keras has saved are loaded with them.
        with self.distribute_strategy.scope():
            self.optimizer.build(self.trainable_variables)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles a stage that is loaded from a file as the saved one was."""
        self.compile(**keras.saving.deserialize_keras_object(config))

    def fit(self, *args: Any, shuffle: bool = False, **kwargs: Any) -> keras.callbacks.History:
        """Works as `keras.Model.fit`; the data are dicts as `training_dataset` yields them.

        `validation_data` are finite data of such dicts, as of `validation_dataset`.
        """
        self.freeze()
        with self.distribute_strategy.scope():
            self.optimizer.build(self.trainable_variables)
        # The data are shuffled already, and Keras 3 warns when its own default cannot be followed.
        return super().fit(*args, shuffle=shuffle, **kwargs)

    def _maybe_symbolic_build(self, *args, **kwargs):
        """Does nothing: all weights exist already.

        Under a strategy Keras 3 would take the first batch of the data for it, average that over the replicas, seeds
        and labels included, and go on with the second.
        """

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Works as `keras.Model.train_step`."""
        return self._for_all_workers(super().train_step(data))

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Works as `keras.Model.test_step`.

        Norms use their moving statistics. Anchors and RoIs are sampled by the `seeds` of the batch, as in training, so
        the same data always give the same losses.
        """
        return self._for_all_workers(super().test_step(data))

    def _for_all_workers(self, logs):
        if KERAS_3 and isinstance(self.distribute_strategy, tf.distribute.MultiWorkerMirroredStrategy):
            # Keras 3 averages over the workers along an axis, which the mean of a loss does not have.
            return {name: value[None] for name, value in logs.items()}
        return logs

    def freeze(self) -> None:
        """Makes the stage's own part trainable and nothing else."""
        for part in self._parts():
            part.trainable = False

    def trained_weights(self) -> list:
        """Returns all weights of the parts that the stage trains, the statistics of their norms among them."""
        return [weight for part in self._parts() if part.trainable_weights for weight in part.weights]

    def _parts(self):
        model = self.mask_rcnn
        return model.backbone, model.neck, model.rpn, model.box_head, model.mask_head

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return self.trackers

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, **kwargs: Any) -> tf.Tensor:
        """Returns the sum of the stage's losses, a float32 scalar; `call` has prepared everything in `y_pred`."""
        values = self.stage_losses(y_pred)
        total = tf.add_n(values)
        # Each replica's loss is its share of the sum over all; the bar shows the whole.
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        images = tf.shape(x["gt_boxes"])[0]  # the last batch of validation data may have fewer
        for tracker, value in zip(self.trackers, (total, *values)):
            tracker.update_state(value * replicas, sample_weight=images)
        return total

    def stage_losses(self, outputs: Any) -> list[tf.Tensor]:
        """Returns the losses of `loss_names`, in that order, of what `call` has returned."""
        raise NotImplementedError


def count_over_replicas(mask: tf.Tensor) -> tf.Tensor:
    """Returns how many elements of bool `mask` hold, as a float32 scalar, over all replicas."""
    count = tf.reduce_sum(tf.cast(mask, tf.float32))
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, count)
