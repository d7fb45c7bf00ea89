
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile

from keras_mrcnn.base.image_files import ImageError, read_image, read_image_size

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
COLOUR = np.stack([GREY, 255 - GREY, GREY // 2], axis=-1)


def saved(tmp_path, image, name="image.png", **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


def in_mode(mode):
    if mode == "I;16":
        return Image.fromarray(GREY.astype(np.uint16) * 257)
    if mode == "LA":
        return Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(255 - GREY)])
    return Image.fromarray(GREY).convert(mode)


@pytest.mark.parametrize(
    ("mode", "name"),
    [("L", "a.png"), ("LA", "a.png"), ("I;16", "a.png"), ("I;16", "a.tif"), ("I", "a.tif"), ("F", "a.tif")],
)
def test_grey_of_every_depth_is_repeated_over_three_channels(tmp_path, mode, name):
    image = read_image(saved(tmp_path, in_mode(mode), name))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.repeat(GREY[..., None], 3, axis=-1))


def test_32_bit_and_float_grey_are_scaled_by_their_range(tmp_path):
    sixteen_in_32 = Image.fromarray(GREY.astype(np.int32) * 257)
    np.testing.assert_array_equal(read_image(saved(tmp_path, sixteen_in_32, "a.tif"))[..., 0], GREY)
    unit = Image.fromarray(GREY.astype(np.float32) / 255)
    np.testing.assert_array_equal(read_image(saved(tmp_path, unit, "b.tif"))[..., 1], GREY)
    signed = Image.fromarray(np.float32([[-1, 0, np.nan, 1]]))
    assert read_image(saved(tmp_path, signed, "c.tif"))[0, :, 0].tolist() == [0, 128, 128, 255]
    flat = Image.fromarray(np.full((1, 2), -5, np.float32))
    assert read_image(saved(tmp_path, flat, "d.tif")).max() == 0


def test_one_bit_image(tmp_path):
    image = read_image(saved(tmp_path, Image.fromarray(GREY > 100)))
    np.testing.assert_array_equal(image[..., 2], np.where(GREY > 100, 255, 0))


def test_alpha_is_dropped(tmp_path):
    rgba = np.concatenate([COLOUR, np.zeros_like(GREY[..., None])], axis=-1)
    np.testing.assert_array_equal(read_image(saved(tmp_path, Image.fromarray(rgba))), COLOUR)


@pytest.mark.parametrize("transparency", [None, 1, b"\x00\x80\xff"])
def test_palette_with_and_without_transparency(tmp_path, transparency):
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    options = {} if transparency is None else {"transparency": transparency}
    read = read_image(saved(tmp_path, image, **options))
    assert read.tolist() == [[[10, 20, 30], [40, 50, 60], [70, 80, 90]]]


def test_cmyk_jpeg(tmp_path):
    cmyk = np.zeros((16, 16, 4), np.uint8)
    cmyk[..., 1:3] = 255  # no cyan, full magenta and yellow: red
    path = saved(tmp_path, Image.fromarray(cmyk, mode="CMYK"), "a.jpg", quality=100)
    assert b"Adobe" in path.read_bytes()  # Pillow writes the inverted form that Photoshop does
    assert np.abs(read_image(path).astype(int) - [255, 0, 0]).max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = read_image(saved(tmp_path, Image.fromarray(COLOUR), exif=exif))
    upright = {
        1: COLOUR,
        2: COLOUR[:, ::-1],
        3: COLOUR[::-1, ::-1],
        4: COLOUR[::-1],
        5: COLOUR.swapaxes(0, 1),
        6: np.rot90(COLOUR, -1),
        7: COLOUR[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(COLOUR),
    }
    np.testing.assert_array_equal(image, upright[orientation])


def test_errors_name_the_file(tmp_path):
    with pytest.raises(ImageError, match=r"^image file .*nothing\.png does not exist; check the path"):
        read_image(tmp_path / "nothing.png")
    with pytest.raises(ImageError, match=r"cannot be read \(Is a directory\)"):
        read_image(tmp_path)
    (tmp_path / "text.png").write_text("this is no picture")
    with pytest.raises(ImageError, match=r"text\.png is not an image"):
        read_image(tmp_path / "text.png")
    (tmp_path / "empty.png").write_bytes(b"")
    with pytest.raises(ImageError, match=r"empty\.png is not an image"):
        read_image(tmp_path / "empty.png")


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_truncated_file_is_an_error(tmp_path, name):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    path = saved(tmp_path, Image.fromarray(noise), name)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ImageError, match=rf"{name} is damaged") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


def test_image_with_too_many_pixels(tmp_path, monkeypatch):
    path = saved(tmp_path, Image.fromarray(COLOUR))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    with pytest.raises(ImageError, match="too many pixels"):
        read_image(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # between one and two times the limit Pillow only warns
    assert read_image(path).shape == (3, 4, 3)


def test_bytes_and_pillow_images_are_read_as_the_file_is(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(tmp_path, Image.fromarray(COLOUR), exif=exif)
    expected = read_image(path)
    assert expected.shape == (4, 3, 3)
    for picture in (str(path), path.read_bytes(), Image.open(path)):
        np.testing.assert_array_equal(read_image(picture), expected)
    with pytest.raises(ImageError, match="^upload is not an image"):
        read_image(b"nonsense", "upload")


@pytest.mark.parametrize("mode", ["La", "RGBa", "HSV"])
def test_modes_that_only_pillow_images_have(mode):
    image = Image.fromarray(COLOUR).convert({"La": "LA", "RGBa": "RGBA"}.get(mode, "RGB")).convert(mode)
    grey = np.asarray(Image.fromarray(COLOUR).convert("L"))
    expected = np.repeat(grey[..., None], 3, axis=-1) if mode == "La" else COLOUR
    assert np.abs(read_image(image).astype(int) - expected).max() <= (8 if mode == "HSV" else 0)


def test_arrays():
    assert read_image(COLOUR) is COLOUR
    np.testing.assert_array_equal(read_image(GREY), np.dstack([GREY, GREY, GREY]))


def test_other_numbers_of_channels(tmp_path):
    rgba = np.dstack([COLOUR, GREY])
    path = saved(tmp_path, Image.fromarray(rgba))
    np.testing.assert_array_equal(read_image(path, channels=4), rgba)
    assert read_image(rgba, channels=4) is rgba
    np.testing.assert_array_equal(read_image(GREY, channels=4), np.dstack([GREY, GREY, GREY, np.full_like(GREY, 255)]))
    np.testing.assert_array_equal(read_image(saved(tmp_path, in_mode("I;16"), "b.png"), channels=1), GREY[..., None])
    np.testing.assert_array_equal(read_image(saved(tmp_path, in_mode("L"), "c.png"), channels=1), GREY[..., None])
    opaque = read_image(saved(tmp_path, Image.fromarray(COLOUR), "d.png"), channels=4)
    np.testing.assert_array_equal(opaque, np.dstack([COLOUR, np.full_like(GREY, 255)]))


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.zeros((4, 4, 3), np.float32), r"float32 \[4, 4, 3\]"),
        (np.zeros((4, 4), bool), r"bool \[4, 4\]"),
        (np.zeros((4, 4, 4), np.uint8), r"uint8 \[4, 4, 4\]"),
        (np.zeros((1, 4, 4, 3), np.uint8), r"uint8 \[1, 4, 4, 3\]"),
        (np.zeros(4, np.uint8), r"uint8 \[4\]"),
        (np.zeros((0, 4, 3), np.uint8), r"uint8 \[0, 4, 3\]"),
    ],
)
def test_other_arrays_are_refused(array, expected):
    sentence = rf"^frame is {expected}, expected a uint8 array \[H, W, 3\] \(RGB\) or \[H, W\]"
    with pytest.raises(ImageError, match=sentence):
        read_image(array, "frame")


@pytest.mark.parametrize("picture", [None, 3, [[1, 2]]])
def test_other_things_are_refused(picture):
    with pytest.raises(ImageError, match=f"^image is a {type(picture).__name__}, expected a path"):
        read_image(picture)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp"])
@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
def test_size_from_the_header_is_that_of_the_upright_image(tmp_path, name, orientation):
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    path = saved(tmp_path, Image.fromarray(COLOUR), name, exif=exif)
    expected = (4, 3) if orientation and orientation >= 5 else (3, 4)
    assert read_image_size(path) == expected == read_image(path).shape[:2]
    assert read_image_size(path.read_bytes()) == expected


def png_chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_size_of_a_png_whose_orientation_stands_behind_the_pixels(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(tmp_path, Image.fromarray(COLOUR)).read_bytes()
    path = tmp_path / "late.png"
    path.write_bytes(content[:-12] + png_chunk(b"eXIf", exif.tobytes()[6:]) + content[-12:])
    assert read_image_size(path) == (4, 3) == read_image(path).shape[:2]


def test_size_is_read_without_decoding(tmp_path, monkeypatch):
    paths = [saved(tmp_path, Image.fromarray(COLOUR), name) for name in ("a.png", "a.jpg", "a.tif", "a.gif")]
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail(f"{image.format} is decoded"))
    assert [read_image_size(path) for path in paths] == [(3, 4)] * 4


def test_size_of_what_is_no_image(tmp_path):
    path = tmp_path / "a.png"
    with pytest.raises(ImageError, match=r"^image file .*a\.png does not exist; check the path$"):
        read_image_size(path)
    path.write_bytes(b"no image")
    with pytest.raises(ImageError, match=r"^image file .*a\.png is not an image that Pillow knows; replace"):
        read_image_size(path)
    with pytest.raises(ImageError, match="^imageData is not an image"):
        read_image_size(b"", "imageData")
    with pytest.raises(ImageError, match=r"^image file .* cannot be read \("):
        read_image_size(tmp_path)
    cut_off = saved(tmp_path, Image.fromarray(COLOUR), "b.png").read_bytes()[:-20]
    assert read_image_size(cut_off) == (3, 4)  # only decoding finds that pixels are missing
