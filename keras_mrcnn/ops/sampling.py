"""Random, balanced choice of positives and negatives.

Shapes: N candidates, S samples of one image.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


def sample(
    labels: tf.Tensor, seed: tf.Tensor | Sequence[int], *, num_samples: int, positive_fraction: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Chooses candidates at random, at most `positive_fraction` of them positive, the rest negative.

    Args:
        labels: int32 [N]: above 0 for positives, 0 for negatives, below 0 for candidates that are never chosen.
        seed: int32 [2]. The choice depends on this seed alone, not on batch, replica or number of calls.
        num_samples: S.
        positive_fraction: greatest share of S that positives take; negatives fill the rest.

    Returns:
        indices int32 [S] into the candidates, positives first, and valid bool [S], false for padding
        (where there are fewer candidates than samples). No gradient.

    Example:
        >>> indices, valid = sample(tf.constant([1, 0, -1]), [0, 0], num_samples=4, positive_fraction=0.5)
        >>> indices[valid].numpy().tolist(), indices[:1].numpy().tolist()
        ([0, 1], [0])
    """
    candidates = tf.shape(labels)[0]
    noise = tf.random.stateless_uniform([candidates], seed)
    max_positives = max(1, int(num_samples * positive_fraction))
    num_positives = tf.minimum(tf.reduce_sum(tf.cast(labels > 0, tf.int32)), max_positives)
    num_negatives = tf.minimum(tf.reduce_sum(tf.cast(labels == 0, tf.int32)), num_samples - num_positives)
    positives = _choose(noise, labels > 0, num_positives)
    negatives = _choose(noise, labels == 0, num_negatives)
    indices = tf.concat([positives, negatives], axis=0)
    padding = num_samples - num_positives - num_negatives
    indices = tf.ensure_shape(tf.pad(indices, [[0, padding]]), [num_samples])
    valid = tf.range(num_samples) < num_positives + num_negatives
    return indices, valid


def _choose(noise: tf.Tensor, mask: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Returns the indices of the `count` candidates with the greatest noise where `mask` is true."""
    return tf.math.top_k(tf.where(mask, noise, -1.0), k=count).indices
