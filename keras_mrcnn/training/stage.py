"""What the stages share: freezing, losses in the progress bar, normalisers over all replicas."""

import keras
import tensorflow as tf

from keras_mrcnn.compat import KERAS_3


class Stage(keras.Model):
    """What the stages share: freezing, losses in the progress bar, normalisers over all replicas.

    Args:
        mask_rcnn: the `MaskRCNN` to train.
    """

    loss_names = ()
    weight_average = None  # a `WeightAverage` where the stage is to end with one

    def __init__(self, mask_rcnn, **kwargs):
        # Boxes of the batch must not be rounded, whatever the policy of the networks.
        super().__init__(dtype="float32", **kwargs)
        self.mask_rcnn = mask_rcnn
        self.trackers = [keras.metrics.Mean(name=name) for name in ("loss", *self.loss_names)]

    def compile(self, optimizer="sgd", **kwargs):
        """As `keras.Model.compile`, but for the losses, which are the stage's own. NMS cannot be compiled by XLA."""
        self.freeze()
        super().compile(optimizer=optimizer, jit_compile=False, **kwargs)

    def fit(self, *args, shuffle=False, **kwargs):
        """As `keras.Model.fit`; the data are dicts as `training_dataset` yields them."""
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

    def train_step(self, data):
        """As `keras.Model.train_step`."""
        logs = super().train_step(data)
        if KERAS_3 and isinstance(self.distribute_strategy, tf.distribute.MultiWorkerMirroredStrategy):
            # Keras 3 averages over the workers along an axis, which the mean of a loss does not have.
            return {name: value[None] for name, value in logs.items()}
        return logs

    def freeze(self):
        """Makes the stage's own part trainable and nothing else."""
        for part in (self.mask_rcnn.backbone, self.mask_rcnn.neck, self.mask_rcnn.rpn):
            part.trainable = False
        self.mask_rcnn.box_head.trainable = False
        self.mask_rcnn.mask_head.trainable = False

    @property
    def metrics(self):
        return self.trackers

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, **kwargs):
        """The sum of the stage's losses, a float32 scalar; `call` has prepared everything in `y_pred`."""
        values = self.stage_losses(y_pred)
        total = tf.add_n(values)
        # Each replica's loss is its share of the sum over all; the bar shows the whole.
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        for tracker, value in zip(self.trackers, (total, *values)):
            tracker.update_state(value * replicas)
        return total

    def stage_losses(self, outputs):
        """The losses of `loss_names`, in that order."""
        raise NotImplementedError


def count_over_replicas(mask):
    """How many elements of bool `mask` hold, as a float32 scalar, over all replicas."""
    count = tf.reduce_sum(tf.cast(mask, tf.float32))
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, count)
