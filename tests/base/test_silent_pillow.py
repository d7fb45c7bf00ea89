"""Pillow's warnings: silent in the threads that read images, as ever in all others, and no filter is changed."""

import io
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from keras_mrcnn.base.image_files import read_image
from keras_mrcnn.base.silent_pillow import silent_pillow

PIXELS = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)


def with_broken_metadata(image_format):
    """An image file whose EXIF block is cut off, so that Pillow warns "Corrupt EXIF data"."""
    exif = Image.Exif()
    exif[0x010E] = "a description that is too long to be stored in the entry itself"
    block, content = exif.tobytes(), io.BytesIO()
    Image.fromarray(PIXELS).save(content, format=image_format, exif=block[:-70], quality=95)
    return content.getvalue()


def tiff_with_odd_tags():
    """A TIFF file whose ImageWidth says that it has two values, so that Pillow warns as soon as it is opened."""
    content = io.BytesIO()
    Image.fromarray(PIXELS).save(content, format="TIFF")
    data = bytearray(content.getvalue())
    start = int.from_bytes(data[4:8], "little") + 2
    assert int.from_bytes(data[start : start + 2], "little") == 256  # ImageWidth, SHORT or LONG, one of them
    kind = int.from_bytes(data[start + 2 : start + 4], "little")
    data[start + 2 : start + 8] = (3).to_bytes(2, "little") + (2).to_bytes(4, "little")  # two SHORTs: 4 and 0
    assert kind in (3, 4)
    return bytes(data)


FILES = {"jpeg": with_broken_metadata("JPEG"), "png": with_broken_metadata("PNG"), "tiff": tiff_with_odd_tags()}


@pytest.fixture
def small_limit(monkeypatch):
    """Pillow warns about images of more than 10 pixels, and refuses those of more than 20."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)


@pytest.mark.parametrize("name", FILES)
def test_files_that_make_pillow_warn_are_read_where_warnings_are_errors(name, tmp_path):
    (tmp_path / name).write_bytes(FILES[name])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read, served = read_image(tmp_path / name), read_image(tmp_path / name)
        with pytest.raises(UserWarning):
            open_as_anybody(FILES[name])
    assert read.shape == (4, 4, 3)
    np.testing.assert_array_equal(read, served)


def open_as_anybody(content):
    with Image.open(io.BytesIO(content)) as image:
        image.load()
        image.getexif()


def test_large_image_is_read_where_warnings_are_errors(small_limit):
    content = io.BytesIO()
    Image.fromarray(PIXELS).save(content, format="PNG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_image(content.getvalue()).tolist() == PIXELS.tolist()
        with pytest.raises(Image.DecompressionBombWarning):
            open_as_anybody(content.getvalue())


def test_many_threads_leave_the_filters_as_they_were(tmp_path):
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    paths = [tmp_path / name for name in FILES] * 100
    changed, done = [], threading.Event()
    before = warnings.filters, list(warnings.filters)

    def watch():
        while not done.is_set():
            changed.extend([1] if (warnings.filters is not before[0] or warnings.filters != before[1]) else [])

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            shapes = set(pool.map(lambda path: read_image(path).shape, paths))
    finally:
        done.set()
        watcher.join()
    assert shapes == {(4, 4, 3)}
    assert not changed and warnings.filters is before[0] and warnings.filters == before[1]


def test_other_threads_are_still_warned():
    with silent_pillow(), ThreadPoolExecutor(1) as pool, pytest.raises(UserWarning):
        pool.submit(open_as_anybody, FILES["jpeg"]).result()


def test_warnings_keep_the_place_that_they_are_about():
    with pytest.warns(UserWarning) as caught:
        open_as_anybody(FILES["jpeg"])
    assert {"TiffImagePlugin.py"} == {warning.filename.rpartition("/")[2] for warning in caught}


def test_silence_ends_with_the_outermost_context():
    with silent_pillow():
        with silent_pillow():
            open_as_anybody(FILES["jpeg"])
        open_as_anybody(FILES["jpeg"])
    with pytest.raises(UserWarning):
        open_as_anybody(FILES["jpeg"])
