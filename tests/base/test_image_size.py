import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_mrcnn.base.image_size import resized_size


def size_in_float64(height, width, min_size, max_size):
    """torchvision's size, in float64, for many images at once."""
    sides = np.stack(np.broadcast_arrays(height, width), -1).astype(np.float64)
    scale = np.minimum(min_size / sides.min(-1), max_size / sides.max(-1))
    return np.maximum((sides * scale[..., None]).astype(np.int32), 1)


def test_by_hand():
    for size, expected in (((480, 640), [800, 1066]), ((161, 200), [799, 993]), ((1, 1), [800, 800])):
        assert list(resized_size(*size, 800, 1333)) == expected
    assert list(resized_size(1, 4000, 800, 1333)) == [1, 1333]


@pytest.mark.parametrize("sizes", [(800, 1333), (128, 224), (320, 320), (512, 1024), (640, 10000), (1, 1), (37, 1009)])
def test_equals_float64(sizes):
    random = np.random.default_rng(5)
    most = 2**15 + 1
    lengths = np.arange(1, most, 1 if sizes == (800, 1333) else 17)
    multiples = np.minimum(lengths * random.integers(1, 9, len(lengths)), most - 1)
    for others in (lengths, multiples, random.integers(1, most, len(lengths)), random.integers(1, 2000, len(lengths))):
        expected = size_in_float64(lengths, others, *sizes)
        sides = lengths.astype(np.int32), others.astype(np.int32)
        np.testing.assert_array_equal(np.stack(resized_size(*sides, *sizes), axis=-1), expected)


def test_the_rounding_of_float64_occurs():
    """The test above is of nothing where n - 1 never comes out."""
    lengths = np.arange(1, 2000)
    short = size_in_float64(lengths, lengths, 800, 1333)[:, 0]
    assert 50 < (short == 799).sum() < 500 and set(short) == {799, 800}


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 2**16), st.integers(1, 2**16), st.integers(2, 1200), st.integers(0, 1200))
def test_equals_python_floats(height, width, min_size, more):
    scale = min(min_size / min(height, width), (min_size + more) / max(height, width))
    expected = [max(int(height * scale), 1), max(int(width * scale), 1)]
    assert list(resized_size(height, width, min_size, min_size + more)) == expected
