import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_mrcnn.data.batching import BatchPlan, PlannedSample, aspect_ratio_batches, draw_sample, equal_size_batches

SIZES = st.lists(st.tuples(st.integers(1, 100), st.integers(1, 100)), min_size=1, max_size=25)
BATCH = st.integers(1, 6)
SEED = st.integers(0, 2**31 - 1)


def bucket(size):
    ratio = size[1] / size[0]
    return (ratio >= 0.8) + (ratio >= 1.0) + (ratio >= 1.25)


def first_batches(sizes, batch_size, seed, count, start=0):
    plan = BatchPlan(np.array(sizes), batch_size, seed)
    return list(itertools.islice(plan.batches(start), count))


@settings(max_examples=60, deadline=None)
@given(SIZES, BATCH, SEED)
def test_batches_are_full_and_alike(sizes, batch_size, seed):
    for batch in first_batches(sizes, batch_size, seed, 12):
        assert len(batch) == batch_size
        assert len({bucket(sizes[sample.index]) for sample in batch}) == 1


@settings(max_examples=60, deadline=None)
@given(SIZES, BATCH, SEED)
def test_each_epoch_has_every_image_once_and_in_turn(sizes, batch_size, seed):
    samples = [sample for batch in first_batches(sizes, batch_size, seed, 20) for sample in batch]
    for kind in {bucket(size) for size in sizes}:
        members = [index for index, size in enumerate(sizes) if bucket(size) == kind]
        stream = [sample for sample in samples if bucket(sizes[sample.index]) == kind]
        # A bucket's stream is its images of epoch 0, in some order, then those of epoch 1, and so on.
        for place, sample in enumerate(stream):
            assert sample.epoch == place // len(members)
        for start in range(0, len(stream) - len(members) + 1, len(members)):
            assert sorted(sample.index for sample in stream[start : start + len(members)]) == members


@settings(max_examples=60, deadline=None)
@given(SIZES, BATCH, SEED, st.integers(0, 15))
def test_starting_later_gives_the_same_stream(sizes, batch_size, seed, start):
    whole = first_batches(sizes, batch_size, seed, start + 3)
    assert first_batches(sizes, batch_size, seed, 3, start) == whole[start:]


def test_left_over_images_wait_for_the_next_epoch():
    samples = [sample for batch in first_batches([(1, 1)] * 3, 2, 0, 3) for sample in batch]
    assert [sample.epoch for sample in samples] == [0, 0, 0, 1, 1, 1]


def test_one_image_fills_a_batch_over_epochs():
    assert first_batches([(1, 1)], 3, 0, 1) == [[PlannedSample(epoch, 0) for epoch in range(3)]]


def test_order_depends_on_seed_and_epoch():
    orders = []
    for seed in (0, 1):
        samples = [batch[0].index for batch in first_batches([(1, 1)] * 50, 1, seed, 100)]
        orders += [samples[:50], samples[50:]]
    assert len({tuple(order) for order in orders}) == 4


def test_places_may_be_asked_in_any_order():
    plan, other = (BatchPlan(np.array([(1, 2), (2, 1)] * 5), 4, 3) for _ in range(2))
    assert [plan.sample(p) for p in range(99, -1, -1)] == [other.sample(p) for p in range(100)][::-1]


@pytest.mark.parametrize("sizes", [[], np.zeros((0, 2), int)])
def test_no_images(sizes):
    with pytest.raises(ValueError, match="no images to train on"):
        BatchPlan(sizes, 2, 0)
    assert aspect_ratio_batches(sizes, 2) == []


def test_bad_batch_size():
    with pytest.raises(ValueError, match="batch_size is 0"):
        BatchPlan(np.array([[1, 1]]), 0, 0)
    with pytest.raises(ValueError, match="batch_size is -1"):
        aspect_ratio_batches(np.array([[1, 1]]), -1)


@given(SIZES, BATCH)
def test_batches_by_aspect_ratio_hold_every_image_once(sizes, batch_size):
    batches = aspect_ratio_batches(np.array(sizes), batch_size)
    order = [index for batch in batches for index in batch]
    assert sorted(order) == list(range(len(sizes)))
    assert all(len(batch) == batch_size for batch in batches[:-1])
    ratios = [sizes[index][1] / sizes[index][0] for index in order]
    assert ratios == sorted(ratios)


@given(SIZES, BATCH)
def test_batches_of_one_size_hold_every_image_once(sizes, batch_size):
    batches = equal_size_batches(np.array(sizes), batch_size)
    assert sorted(index for batch in batches for index in batch) == list(range(len(sizes)))
    assert all(len(batch) <= batch_size and len({tuple(sizes[index]) for index in batch}) == 1 for batch in batches)
    assert equal_size_batches([], batch_size) == []


def test_draws_depend_on_seed_epoch_and_image_only():
    base = draw_sample(1, PlannedSample(2, 3))
    again = draw_sample(1, PlannedSample(2, 3))
    for one, other in zip(base, again):
        np.testing.assert_array_equal(one, other)
    assert base.seeds.dtype == np.int32
    numbers = [base.flip, base.jitter, base.size, base.angle, *base.place, *base.colours, base.paste]
    assert len(set(numbers)) == 10
    assert all(0 <= number < 1 for number in numbers)
    keys = ((0, PlannedSample(2, 3)), (1, PlannedSample(0, 3)), (1, PlannedSample(2, 0)))
    changed = [draw_sample(*key) for key in keys]
    assert len({base.flip, *(draws.flip for draws in changed)}) == 4
    assert len({tuple(draws.seeds) for draws in [base, *changed]}) == 4


def test_pasted_image_has_draws_of_its_own():
    own, pasted = (draw_sample(1, PlannedSample(2, 3), pasted=pasted) for pasted in (False, True))
    assert not {own.flip, own.jitter, own.angle, own.paste} & {pasted.flip, pasted.jitter, pasted.angle, pasted.paste}
    assert own.seeds.tolist() != pasted.seeds.tolist()
    assert pasted.flip == draw_sample(1, PlannedSample(2, 3), pasted=True).flip


def test_draws_stay_those_of_earlier_runs():
    # A run that is resumed must see the images that it would have seen.
    draws = draw_sample(1, PlannedSample(2, 3))
    assert draws[:3] == pytest.approx((0.670472263, 0.111014637, 0.511509082), rel=1e-7)
    assert draws.seeds.tolist() == [2045964594, 764883050]
