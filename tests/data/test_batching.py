import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_mrcnn.data import batching
from keras_mrcnn.data.batching import aspect_ratio_batches, equal_size_batches, planned_batches, spread_rows

SIZES = st.lists(st.tuples(st.integers(1, 100), st.integers(1, 100)), min_size=1, max_size=25)
BATCH = st.integers(1, 6)
SEED = st.integers(0, 2**31 - 1)


def bucket(size):
    ratio = size[1] / size[0]
    return (ratio >= 0.8) + (ratio >= 1.0) + (ratio >= 1.25)


def first_batches(sizes, batch_size, seed, count, start=0, shards=None):
    """The first batches of a plan, each a list of (epoch, row)."""
    plan = planned_batches(np.array(sizes), batch_size, seed, start, shards)
    return [list(map(tuple, batch.tolist())) for batch in plan.take(count).as_numpy_iterator()]


def filled_one_by_one(sizes, batch_size, order):
    """The batches that become full when samples, (epoch, row), are put into their buckets one after another."""
    waiting, batches = {}, []
    for epoch, row in order:
        batch = waiting.setdefault(bucket(sizes[row]), [])
        batch.append((epoch, row))
        if len(batch) == batch_size:
            batches.append(batch[:])
            batch.clear()
    return batches


def check_plan(sizes, batch_size, seed, start):
    """Asserts what every plan must have."""
    batches = first_batches(sizes, batch_size, seed, 20)
    # Full, and of similar aspect ratios.
    for batch in batches:
        assert len(batch) == batch_size
        assert len({bucket(sizes[row]) for _, row in batch}) == 1
    # Each epoch has every image once: a bucket's stream is its images of epoch 0, then those of epoch 1, and so on.
    samples = [sample for batch in batches for sample in batch]
    for kind in {bucket(size) for size in sizes}:
        members = [row for row, size in enumerate(sizes) if bucket(size) == kind]
        stream = [(epoch, row) for epoch, row in samples if bucket(sizes[row]) == kind]
        assert [epoch for epoch, _ in stream] == [place // len(members) for place in range(len(stream))]
        for first in range(0, len(stream) - len(members) + 1, len(members)):
            assert sorted(row for _, row in stream[first : first + len(members)]) == members
    # A stream that starts later is the rest of the same one.
    assert first_batches(sizes, batch_size, seed, 3, start) == batches[start : start + 3]


PLANS = given(SIZES, BATCH, SEED, st.integers(0, 15))
test_plan = settings(max_examples=4, deadline=None)(PLANS(check_plan))
test_more_plans = pytest.mark.long(settings(max_examples=100, deadline=None)(PLANS(check_plan)))


@settings(max_examples=4, deadline=None)
@given(SIZES, BATCH, SEED)
def test_batches_come_in_the_order_in_which_their_buckets_become_full(sizes, batch_size, seed):
    order = [sample for (sample,) in first_batches(sizes, 1, seed, 4 * len(sizes))]  # the permutations themselves
    wanted = filled_one_by_one(sizes, batch_size, order)
    assert first_batches(sizes, batch_size, seed, len(wanted)) == wanted


def test_left_over_images_wait_for_the_next_epoch():
    samples = [sample for batch in first_batches([(1, 1)] * 3, 2, 0, 3) for sample in batch]
    assert [epoch for epoch, _ in samples] == [0, 0, 0, 1, 1, 1]


def test_one_image_fills_a_batch_over_epochs():
    assert first_batches([(1, 1)], 3, 0, 1) == [[(epoch, 0) for epoch in range(3)]]


def test_order_depends_on_seed_and_epoch():
    orders = []
    for seed in (0, 1):
        rows = [batch[0][1] for batch in first_batches([(1, 1)] * 50, 1, seed, 100)]
        orders += [rows[:50], rows[50:]]
    assert len({tuple(order) for order in orders}) == 4


def test_order_stays_that_of_earlier_runs():
    # A run that is resumed must see the images in the order in which it would have seen them.
    rows = [row for ((_, row),) in first_batches([(1, 1)] * 8, 1, 5, 16)]
    assert rows == [4, 5, 0, 3, 7, 6, 1, 2, 2, 6, 3, 0, 4, 1, 7, 5]


def test_large_sets_are_read_a_few_shards_at_a_time(monkeypatch):
    monkeypatch.setattr(batching, "WINDOW", 12)
    shards = np.repeat(np.arange(10), 6)
    rows = [row for ((_, row),) in first_batches([(1, 1)] * 60, 1, 0, 120, shards=shards)]
    windows = []
    for first in range(0, 120, 12):
        window = shards[rows[first : first + 12]]
        assert len(set(window.tolist())) == 2  # two whole shards, and not one after the other
        assert (np.diff(window) != 0).sum() > 1
        windows.append(frozenset(window.tolist()))
    assert sorted(rows[:60]) == sorted(rows[60:]) == list(range(60))
    assert set(windows[:5]) != set(windows[5:])  # other shards together in the next epoch


def test_shards_of_a_small_set_do_not_matter():
    shards = np.repeat(np.arange(4), 5)
    assert first_batches([(1, 1)] * 20, 2, 3, 20, shards=shards) == first_batches([(1, 1)] * 20, 2, 3, 20)


@pytest.mark.parametrize("sizes", [[], np.zeros((0, 2), int)])
def test_no_images(sizes):
    with pytest.raises(ValueError, match="no images to train on"):
        planned_batches(sizes, 2, 0)
    assert aspect_ratio_batches(sizes, 2) == []


def test_bad_arguments():
    with pytest.raises(ValueError, match="batch_size is 0"):
        planned_batches(np.array([[1, 1]]), 0, 0)
    with pytest.raises(ValueError, match="start_batch is -1"):
        planned_batches(np.array([[1, 1]]), 1, 0, -1)
    with pytest.raises(ValueError, match="batch_size is -1"):
        aspect_ratio_batches(np.array([[1, 1]]), -1)


@given(SIZES, BATCH)
def test_batches_by_aspect_ratio_hold_every_image_once(sizes, batch_size):
    batches = aspect_ratio_batches(np.array(sizes), batch_size)
    order = [row for batch in batches for row in batch]
    assert sorted(order) == list(range(len(sizes)))
    assert all(len(batch) == batch_size for batch in batches[:-1])
    ratios = [sizes[row][1] / sizes[row][0] for row in order]
    assert ratios == sorted(ratios)


def test_rows_are_spread_evenly():
    assert spread_rows(10, 4).tolist() == [0, 2, 5, 7]
    assert spread_rows(3).tolist() == spread_rows(3, 3).tolist() == spread_rows(3, 99).tolist() == [0, 1, 2]
    assert spread_rows(0).tolist() == spread_rows(0, 5).tolist() == spread_rows(7, 0).tolist() == []


@given(SIZES, BATCH)
def test_batches_of_one_size_hold_every_image_once(sizes, batch_size):
    batches = equal_size_batches(np.array(sizes), batch_size)
    assert sorted(row for batch in batches for row in batch) == list(range(len(sizes)))
    assert all(len(batch) <= batch_size and len({tuple(sizes[row]) for row in batch}) == 1 for batch in batches)
    assert equal_size_batches([], batch_size) == []
