"""The random, balanced choice: counts, order, padding, and what it depends on."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_mrcnn.ops.sampling import sample


def draw(labels, seed=(0, 0), num_samples=8, positive_fraction=0.25):
    indices, valid = sample(
        tf.constant(labels, tf.int32), tf.constant(seed), num_samples=num_samples, positive_fraction=positive_fraction
    )
    return indices.numpy(), valid.numpy()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from([-1, 0, 1, 3]), max_size=40), st.integers(1, 16), st.sampled_from([0.25, 0.5, 1.0]))
def test_counts_and_order(labels, num_samples, fraction):
    labels = np.int32(labels)
    indices, valid = draw(labels, num_samples=num_samples, positive_fraction=fraction)
    assert indices.shape == valid.shape == (num_samples,)
    chosen = labels[indices[valid]]
    positives = min((labels > 0).sum(), max(1, int(num_samples * fraction)))
    assert (chosen > 0).sum() == positives
    assert (chosen == 0).sum() == min((labels == 0).sum(), num_samples - positives)
    assert (chosen >= 0).all() and len(set(indices[valid])) == valid.sum()
    assert (np.diff((chosen > 0).astype(int)) <= 0).all(), "positives come first"
    assert not indices[~valid].any() and (np.diff(valid.astype(int)) <= 0).all()


def test_nothing_to_choose():
    for labels in ([], [-1, -1]):
        indices, valid = draw(labels, num_samples=3)
        assert indices.tolist() == [0, 0, 0] and not valid.any()


def test_one_positive_is_always_allowed():
    assert draw([0, 0, 1, 0], num_samples=2, positive_fraction=0.25)[0][0] == 2


def test_depends_on_the_seed_alone():
    labels = np.int32([1] * 50 + [0] * 50)
    first, second = draw(labels, (3, 4))[0], draw(labels, (3, 4))[0]
    np.testing.assert_array_equal(first, second)
    assert any((draw(labels, (3, other))[0] != first).any() for other in (5, 6))


def test_every_candidate_has_its_chance():
    labels = np.int32([1] * 4 + [0] * 4)
    seen = np.zeros(8, int)
    for seed in range(40):
        np.add.at(seen, draw(labels, (seed, 1), num_samples=4, positive_fraction=0.5)[0], 1)
    assert seen[:4].sum() == seen[4:].sum() == 80
    assert seen.min() >= 8, "each of the four is drawn in about half of the 40 times"


def test_traces_once_for_any_number_of_candidates():
    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)])
    def traced(labels):
        return sample(labels, [0, 0], num_samples=8, positive_fraction=0.25)

    for labels in ([1, 0, 0, -1], [0] * 30, []):
        indices, valid = traced(tf.constant(labels, tf.int32))
        assert indices.shape == (8,)
        np.testing.assert_array_equal(indices, draw(labels)[0])
        np.testing.assert_array_equal(valid, draw(labels)[1])
