"""Computes the RPN's output at the sampled anchors only, for training steps that need no others.

A loss on 256 anchors needs the last convolutions of the FPN and those of the RPN at 256 places and their neighbours
only. On whole maps these convolutions make up half of all multiplications of a step.

Shapes: B batch, H W C of a level, A anchors per cell, S sampled anchors per image, T sampled anchors of a level in the
whole batch.
"""

from __future__ import annotations

import tensorflow as tf

from keras_mrcnn.layers.conv_norm import ConvNorm
from keras_mrcnn.models.fpn import FPN, subsample
from keras_mrcnn.models.rpn import RPN

ROUND_UP = 64  # the number of sampled anchors of a level is padded to a multiple of this


def score_sampled_anchors(
    neck: FPN, rpn: RPN, merged: list[tf.Tensor], indices: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes the objectness and the deltas of sampled anchors, with the same values as on whole maps.

    Args:
        neck: `FPN` whose `is_local` is true.
        rpn: `RPN`.
        merged: list of maps float [B, H, W, C] from `neck.merge`.
        indices: int32 [B, S] into the anchors of all levels, in the order of `AnchorGenerator`.

    Returns:
        objectness logits float32 [B, S] and deltas float32 [B, S, 4].
    """
    # The last level is a subsample of the one before it. Both are small, so they are computed whole.
    coarse = neck.layer[-1](merged[-1])
    whole = [tf.concat(levels, axis=1) for levels in rpn([coarse, subsample(coarse)])]
    anchors = rpn.objectness.filters
    objectness, deltas, first = 0.0, 0.0, 0
    for fmap, layer in zip(merged[:-1], neck.layer[:-1]):
        count = tf.reduce_prod(tf.shape(fmap)[1:3]) * anchors
        places = tf.where((indices >= first) & (indices < first + count))  # int64 [T, 2]: image, sample
        logits, offsets = _score_level(layer, rpn, fmap, places[:, 0], tf.gather_nd(indices, places) - first)
        shape = tf.cast(tf.shape(indices), tf.int64)
        objectness += tf.scatter_nd(places, logits, shape)
        deltas += tf.scatter_nd(places, offsets, tf.concat([shape, [4]], axis=0))
        first += count
    rest = tf.maximum(indices - first, 0)
    own = indices >= first
    objectness += tf.where(own, tf.gather(whole[0], rest, batch_dims=1), 0.0)
    deltas += tf.where(own[..., None], tf.gather(whole[1], rest, batch_dims=1), 0.0)
    return objectness, deltas


def _score_level(
    layer: ConvNorm, rpn: RPN, fmap: tf.Tensor, images: tf.Tensor, anchors: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns logits float32 [T] and deltas float32 [T, 4] of anchors int32 [T] of one level, in images int64 [T]."""
    size, per_cell = tf.shape(fmap)[1:3], rpn.objectness.filters
    # Padded to a multiple, because TensorFlow's kernels keep memory for every size that they meet; and never empty,
    # because its convolutions fail on empty batches.
    count = tf.shape(anchors)[0]
    padding = ROUND_UP - count % ROUND_UP
    images, anchors = tf.pad(images, [[0, padding]]), tf.pad(anchors, [[0, padding]])
    cells, anchor_of_cell = anchors // per_cell, anchors % per_cell
    radius = 1 + len(rpn.convs)
    steps = tf.range(-radius, radius + 1)
    rows = (cells // size[1])[:, None] + steps
    columns = (cells % size[1])[:, None] + steps
    # Before every convolution the cells outside the map are zero, like its padding.
    inside = ((rows >= 0) & (rows < size[0]))[:, :, None] & ((columns >= 0) & (columns < size[1]))[:, None, :]
    inside = tf.cast(inside[..., None], fmap.dtype)
    near_rows, near_columns = (tf.clip_by_value(i, 0, last - 1) for i, last in ((rows, size[0]), (columns, size[1])))
    first_cells = tf.cast(images, tf.int32) * size[0] * size[1]
    flat = first_cells[:, None, None] + near_rows[:, :, None] * size[1] + near_columns[:, None, :]
    x = tf.gather(tf.reshape(fmap, [-1, fmap.shape[-1]]), flat) * inside
    x = layer.call_inside(x)
    for index, conv in enumerate(rpn.convs, start=1):
        x = tf.nn.relu(conv.call_inside(x * inside[:, index:-index, index:-index]))
    logits = tf.cast(rpn.objectness(x), tf.float32)[:, 0, 0]
    deltas = tf.reshape(tf.cast(rpn.deltas(x), tf.float32), [-1, per_cell, 4])
    logits, deltas = (tf.gather(values, anchor_of_cell, batch_dims=1) for values in (logits, deltas))
    return logits[:count], deltas[:count]
