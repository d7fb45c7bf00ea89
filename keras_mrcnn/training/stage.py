"""The base class of the stages: freezing, losses as Keras metrics, saving, normalisers over all replicas."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from keras_mrcnn.compat import KERAS_3
from keras_mrcnn.mask_rcnn.model import MaskRCNN


class Stage(keras.Model):
    """The base class of the stages: a Keras model around a `MaskRCNN` that trains one part of it.

    `compile` takes any optimizer, `fit` and `evaluate` take any callbacks, and `fit` takes `validation_data`. The
    losses are the stage's own; `history.history` has each under its name, and that of validation under `val_` and its
    name.

    Args:
        mask_rcnn: the model to train.
    """

    loss_names: tuple[str, ...] = ()
    weight_average = None  # a `WeightAverage` if the stage ends with one
    best_weights = None  # a `BestWeights` if the stage ends with the weights of its best epoch

    def __init__(self, mask_rcnn: MaskRCNN, **kwargs: Any):
        # Boxes of the batch must not be rounded, whatever the policy of the networks.
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.mask_rcnn = mask_rcnn
        self.trackers = [keras.metrics.Mean(name=name) for name in ("loss", *self.loss_names)]
        self.built = True  # all weights exist already

    def get_config(self) -> dict[str, Any]:
        """Returns what `from_config` needs, so that whole stages can be saved as `.keras` files."""
        return {"name": self.name, "mask_rcnn": keras.saving.serialize_keras_object(self.mask_rcnn)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict | None = None) -> Stage:
        """Makes a stage, with a new `MaskRCNN`, from the result of `get_config`."""
        model = keras.saving.deserialize_keras_object(config["mask_rcnn"], custom_objects=custom_objects)
        return cls(model, name=config["name"])

    def compile(self, optimizer: Any = "sgd", **kwargs: Any) -> None:
        """Works like `keras.Model.compile`, except that the losses are the stage's own.

        Args:
            optimizer: a Keras optimizer or its name.
            **kwargs: as for `keras.Model.compile`. `jit_compile` is always off, because XLA lacks this NMS.

        Raises:
            ValueError: the arguments contain a loss.
        """
        if kwargs.get("loss") is not None:
            raise ValueError(f"loss: {type(self).__name__} has losses of its own, {', '.join(self.loss_names)}; "
                             "leave loss out")
        self.freeze()
        super().compile(**{**kwargs, "optimizer": optimizer, "jit_compile": False})
        # All weights exist, so the slots can be made: Keras loads saved optimizer weights into them.
        with self.distribute_strategy.scope():
            self.optimizer.build(self.trainable_variables)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles a stage that is loaded from a file in the same way as the saved one."""
        self.compile(**keras.saving.deserialize_keras_object(config))

    def fit(self, *args: Any, shuffle: bool = False, **kwargs: Any) -> keras.callbacks.History:
        """Works like `keras.Model.fit`; the data are dicts as `training_dataset` yields them.

        `validation_data` are finite data of such dicts, see `validation_dataset`.
        """
        self.freeze()
        with self.distribute_strategy.scope():
            self.optimizer.build(self.trainable_variables)
        # The data are shuffled already, and Keras 3 warns when its own default cannot be followed.
        return super().fit(*args, shuffle=shuffle, **kwargs)

    def _maybe_symbolic_build(self, *args, **kwargs):
        """Does nothing: all weights exist already.

        Under a strategy Keras 3 would take the first batch of the data for it, average it over the replicas, seeds and
        labels included, and continue with the second.
        """

    # Nothing here needs AutoGraph, which takes as long to read the sources as TensorFlow to trace the step.
    @tf.autograph.experimental.do_not_convert
    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Works like `keras.Model.train_step`."""
        return self._for_all_workers(super().train_step(data))

    @tf.autograph.experimental.do_not_convert
    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """Works like `keras.Model.test_step`.

        Norms use their moving statistics. Anchors and RoIs are sampled by the `seeds` of the batch, as in training, so
        the same data always give the same losses.
        """
        return self._for_all_workers(super().test_step(data))

    def _for_all_workers(self, logs):
        if KERAS_3 and isinstance(self.distribute_strategy, tf.distribute.MultiWorkerMirroredStrategy):
            # Keras 3 averages over the workers along an axis that the mean of a loss lacks.
            return {name: value[None] for name, value in logs.items()}
        return logs

    def freeze(self) -> None:
        """Makes the stage's own part trainable and nothing else."""
        for part in self._parts():
            part.trainable = False

    def trained_weights(self) -> list:
        """Returns all weights of the parts that the stage trains, including the statistics of their norms."""
        return [weight for part in self._parts() if part.trainable_weights for weight in part.weights]

    def _parts(self):
        model = self.mask_rcnn
        return model.backbone, model.neck, model.rpn, model.box_head, model.mask_head

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """Returns the metrics that follow the losses."""
        return self.trackers

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, **kwargs: Any
    ) -> tf.Tensor:
        """Computes the sum of the stage's losses, a float32 scalar, from the result of `call`, `y_pred`."""
        values = self.stage_losses(y_pred)
        total = tf.add_n(values)
        # The loss of each replica is its share of the sum over all; the progress bar shows the whole.
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        images = tf.shape(x["gt_boxes"])[0]  # the last batch of validation data may have fewer
        for tracker, value in zip(self.trackers, (total, *values)):
            tracker.update_state(value * replicas, sample_weight=images)
        return total

    def stage_losses(self, outputs: Any) -> list[tf.Tensor]:
        """Computes the losses of `loss_names`, in that order, from the result of `call`."""
        raise NotImplementedError


def count_over_replicas(mask: tf.Tensor) -> tf.Tensor:
    """Counts the true elements of `mask` over all replicas; returns a float32 scalar."""
    count = tf.reduce_sum(tf.cast(mask, tf.float32))
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, count)
