"""Computes the maps and proposals of an image, which the box and mask stages read but do not train.

Each image is computed by itself, because padding to the size of a larger one in its batch would change its maps. So
the results can be kept (`feature_cache`).

Shapes: B batch, H W of the padded input, R proposals.
"""

from __future__ import annotations

import tensorflow as tf

from keras_mrcnn.layers.proposals import Proposals
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.ops.images import SIZE_MULTIPLE


def compute_features_and_proposals(
    model: MaskRCNN, images: tf.Tensor, image_sizes: tf.Tensor
) -> tuple[list[tf.Tensor], Proposals]:
    """Computes maps and training proposals of each image by itself, without gradients.

    Args:
        model: `MaskRCNN`.
        images: as for the `call` of the model.
        image_sizes: as for the `call` of the model.

    Returns:
        The levels that RoIs are pooled from, a list of float [B, h, w, C] in the dtype of the networks, zero beyond
        each image's own padding, and `Proposals`.
    """
    whole = tf.shape(images)[1:3]

    def one_image(inputs):
        image, size = inputs
        padded = -(-size // SIZE_MULTIPLE) * SIZE_MULTIPLE
        own = image[None, : padded[0], : padded[1]]
        features = model.extract_features(own)
        proposals = model.propose(features, own, size[None], training=True)
        maps = [
            _pad_to(fmap[0], -(-whole // stride))
            for fmap, stride in zip(model.roi_features(features), model.box_pool.strides)
        ]
        return (*maps, *(values[0] for values in proposals))

    dtype = model.neck.compute_dtype
    channels = model.roi_channels
    signature = [tf.TensorSpec([None, None, channels], dtype) for _ in model.box_pool.strides]
    signature += [tf.TensorSpec([None, 4], tf.float32), tf.TensorSpec([None], tf.float32), tf.TensorSpec([], tf.int32)]
    # One after the other: each keeps all cores busy.
    outputs = tf.map_fn(
        one_image, (images, image_sizes), fn_output_signature=tuple(signature), parallel_iterations=1
    )
    outputs = [tf.stop_gradient(values) for values in outputs]
    return outputs[:-3], Proposals(*outputs[-3:])


def _pad_to(fmap, size):
    bottom, right = size[0] - tf.shape(fmap)[0], size[1] - tf.shape(fmap)[1]
    return tf.pad(fmap, [[0, bottom], [0, right], [0, 0]])


def features_and_proposals(model: MaskRCNN, batch: dict[str, tf.Tensor]) -> tuple[list[tf.Tensor], Proposals]:
    """Returns the maps and `Proposals` of a batch: those in the batch if there are any, else computed from its images.

    Args:
        model: `MaskRCNN`.
        batch: dict as `training_dataset` or `FeatureCache.dataset` yields it.
    """
    if "proposals" not in batch:
        return compute_features_and_proposals(model, batch["images"], batch["image_sizes"])
    maps = [batch[f"features_{level}"] for level in range(len(model.box_pool.strides))]
    return maps, Proposals(batch["proposals"], batch["proposal_scores"], batch["proposal_count"])
