"""The RPN's output at a few anchors only, for a training step that looks at no others.

A loss on 256 anchors needs the last FPN convolution and the RPN's at 256 places with their neighbours. On whole maps
these convolutions are half of all multiplications of the step.

Shapes: B batch, H W C of a level, A anchors per cell, N anchors per image, S sampled anchors, T of them on a level.
"""

import tensorflow as tf

from keras_mrcnn.models.fpn import subsample

ROUND_UP = 64  # sampled anchors of a level are computed in multiples of this


def score_sampled_anchors(neck, rpn, merged, indices):
    """Objectness and deltas of sampled anchors, the same as from whole maps.

    Args:
        neck: `FPN` whose `is_local` holds.
        rpn: `RPN`.
        merged: list of maps float [B, H, W, C] from `neck.merge`.
        indices: int32 [B, S] into the anchors of all levels, in the order of `AnchorGenerator`.

    Returns:
        objectness logits float32 [B, S] and deltas float32 [B, S, 4].
    """
    # The last level is the one before it subsampled, and both are small: these two are computed whole.
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


def _score_level(layer, rpn, fmap, images, anchors):
    """Logits float32 [T] and deltas float32 [T, 4] of anchors int32 [T] of one level, in images int64 [T]."""
    size, per_cell = tf.shape(fmap)[1:3], rpn.objectness.filters
    # Rounded up, for TensorFlow's kernels keep memory for every size that they have seen; and never none, for
    # convolutions of nothing are where they fail.
    given = tf.shape(anchors)[0]
    room = ROUND_UP - given % ROUND_UP
    images, anchors = tf.pad(images, [[0, room]]), tf.pad(anchors, [[0, room]])
    cells, anchor_of_cell = anchors // per_cell, anchors % per_cell
    radius = 1 + len(rpn.convs)
    steps = tf.range(-radius, radius + 1)
    rows = (cells // size[1])[:, None] + steps
    columns = (cells % size[1])[:, None] + steps
    # Cells outside the map are what its padding is: zero, before every convolution.
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
    return logits[:given], deltas[:given]
