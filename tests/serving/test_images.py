"""Pictures as RGB: the same pixels as the reader of the data sets gives, whose tests have the values by hand."""

import warnings

import numpy as np
import pytest
from PIL import Image

from keras_mrcnn.data.images import read_image
from keras_mrcnn.serving.images import ImageError, to_rgb

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
COLOUR = np.stack([GREY, 255 - GREY, GREY // 2], axis=-1)


def palette(transparency):
    image = Image.fromarray(GREY // 100).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.info.update({} if transparency is None else {"transparency": transparency})
    return image


def colour(mode):
    return Image.fromarray(COLOUR).convert(mode)


KINDS = {
    "grey.png": Image.fromarray(GREY),
    "one bit.png": Image.fromarray(GREY > 100),
    "grey and alpha.png": Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(255 - GREY)]),
    "16 bit.png": Image.fromarray(GREY.astype(np.uint16) * 257),
    "dark 16 bit.tif": Image.fromarray(GREY.astype(np.uint16)),
    "32 bit of 8.tif": Image.fromarray(GREY.astype(np.int32)),
    "32 bit of 16.tif": Image.fromarray(GREY.astype(np.int32) * 257),
    "32 bit.tif": Image.fromarray(GREY.astype(np.int32) * 70000),
    "float.tif": Image.fromarray(GREY.astype(np.float32) / 255),
    "float of 8.tif": Image.fromarray(GREY.astype(np.float32)),
    "signed float.tif": Image.fromarray(np.float32([[-1, 0, np.nan, 1]])),
    "flat float.tif": Image.fromarray(np.full((1, 2), -5, np.float32)),
    "colour.png": colour("RGB"),
    "colour.jpg": colour("RGB"),
    "alpha.png": Image.fromarray(np.dstack([COLOUR, GREY])),
    "palette.png": palette(None),
    "palette, one clear.png": palette(1),
    "palette, alpha.png": palette(b"\x00\x80\xff"),
    "print.jpg": colour("CMYK"),
    "video.jpg": colour("YCbCr"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pictures")


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_read_as_the_data_sets_are(folder, name):
    path = folder / name
    KINDS[name].save(path)
    expected = read_image(path)
    for picture in (path, str(path), Image.open(path)):
        found = to_rgb(picture)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(COLOUR).save(tmp_path / "a.png", exif=exif)
    expected = read_image(tmp_path / "a.png")
    assert expected.shape[:2] == ((3, 4) if orientation < 5 else (4, 3))
    np.testing.assert_array_equal(to_rgb(tmp_path / "a.png"), expected)
    np.testing.assert_array_equal(to_rgb(Image.open(tmp_path / "a.png")), expected)


@pytest.mark.parametrize("mode", ["La", "RGBa", "HSV"])
def test_modes_that_only_pillow_images_have(mode):
    image = colour("RGB").convert({"La": "LA", "RGBa": "RGBA"}.get(mode, "RGB")).convert(mode)
    expected = np.repeat(np.asarray(colour("L"))[..., None], 3, axis=-1) if mode == "La" else COLOUR
    assert np.abs(to_rgb(image).astype(int) - expected).max() <= (8 if mode == "HSV" else 0)


def test_arrays():
    assert to_rgb(COLOUR) is COLOUR
    np.testing.assert_array_equal(to_rgb(GREY), np.dstack([GREY, GREY, GREY]))


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((4, 4, 3), np.float32), r"float32 \[4, 4, 3\]"),
        (np.zeros((4, 4), bool), r"bool \[4, 4\]"),
        (np.zeros((4, 4, 4), np.uint8), r"uint8 \[4, 4, 4\]"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"uint8 \[1, 4, 4, 3\]"),
        (np.zeros(4, np.uint8), r"uint8 \[4\]"),
        (np.zeros((0, 4, 3), np.uint8), r"uint8 \[0, 4, 3\]"),
    ],
)
def test_other_arrays_are_refused(array, said):
    with pytest.raises(ImageError, match=rf"^frame is {said}, expected a uint8 array \[H, W, 3\] \(RGB\) or \[H, W\]"):
        to_rgb(array, "frame")


@pytest.mark.parametrize("picture", [None, 3, [[1, 2]], b"bytes"])
def test_other_things_are_refused(picture):
    with pytest.raises(ImageError, match=f"^image is a {type(picture).__name__}, expected a path"):
        to_rgb(picture)


def test_errors_name_the_file(tmp_path):
    with pytest.raises(ImageError, match=r"image file .*nothing\.png cannot be read \(No such file"):
        to_rgb(tmp_path / "nothing.png")
    with pytest.raises(ImageError, match=r"cannot be read \(Is a directory\)"):
        to_rgb(tmp_path)
    (tmp_path / "text.png").write_text("this is no picture")
    with pytest.raises(ImageError, match=r"text\.png is not an image"):
        to_rgb(str(tmp_path / "text.png"))


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_truncated_file_is_an_error(tmp_path, name):
    path = tmp_path / name
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ImageError, match=rf"{name} is damaged") as caught:
        to_rgb(path)
    assert "\n" not in str(caught.value)


def test_image_with_too_many_pixels(tmp_path, monkeypatch):
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    with pytest.raises(ImageError, match=r"a\.png has too many pixels"):
        to_rgb(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # between one and two times the limit Pillow only warns
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert to_rgb(tmp_path / "a.png").shape == (3, 4, 3)
