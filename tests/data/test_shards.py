import io
import zlib

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from keras_mrcnn.base.image_files import read_image
from keras_mrcnn.data.fine_masks import FineMask
from keras_mrcnn.data.shards import decode_image, decode_record, encode_record, upright

NOISE = np.random.default_rng(0).integers(0, 256, (12, 17, 3), np.uint8)
NO_BOXES, NO_LABELS = np.zeros((0, 4), np.float32), np.zeros(0, np.int32)


def file_of(pixels, kind="PNG", **options):
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind, **options)
    return content.getvalue()


def record_of(image=None, orientation=1, boxes=NO_BOXES, labels=NO_LABELS, masks=(), fine_masks=(), side=2):
    masks = np.array(masks, np.uint8).reshape(-1, side, side)
    return encode_record(image or file_of(NOISE), orientation, boxes, labels, masks, fine_masks)


def decoded(record, channels=3, side=2, fine=True):
    fields = decode_record(tf.constant(record), channels=channels, mask_size=side, fine=fine)
    return {name: value.numpy() for name, value in fields.items()}


def fine_masks_of(fields):
    """The fine masks that `decode_record` gives."""
    masks = []
    for (left, top, factor, height, width), start in zip(fields["frames"].tolist(), fields["starts"]):
        cells = fields["cells"][start : start + height * width].reshape(height, width)
        masks.append(FineMask(left, top, factor, cells.astype(bool)))
    return masks


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 5), st.integers(1, 6))
def test_round_trip(seed, count, side):
    random = np.random.default_rng(seed)
    boxes = random.uniform(0, 1000, (count, 4)).astype(np.float32)
    labels = random.integers(1, 90, count).astype(np.int32)
    masks = random.integers(0, 256, (count, side, side), np.uint8)
    frames = random.integers(1, 9, (count, 5)).tolist()
    fine = [FineMask(*frame[:3], random.random(frame[3:]) < 0.5) for frame in frames]
    fields = decoded(encode_record(file_of(NOISE), 1, boxes, labels, masks, fine), side=side)
    kinds = {"image": np.uint8, "boxes": np.float32, "labels": np.int32, "masks": np.uint8,
             "frames": np.int32, "starts": np.int32, "cells": np.uint8}  # fmt: skip
    assert {name: value.dtype for name, value in fields.items()} == kinds
    for name, wanted in (("image", NOISE), ("boxes", boxes), ("labels", labels), ("masks", masks)):
        np.testing.assert_array_equal(fields[name], wanted, err_msg=name)
    for found, wanted in zip(fine_masks_of(fields), fine):
        assert found.frame == wanted.frame
        np.testing.assert_array_equal(found.cells, wanted.cells)
    assert len(fine_masks_of(fields)) == count


def test_no_objects():
    fields = decoded(record_of(side=56), side=56)
    shapes = {name: value.shape for name, value in fields.items()}
    assert shapes == {
        "image": (12, 17, 3), "boxes": (0, 4), "labels": (0,), "masks": (0, 56, 56), "frames": (0, 5), "starts": (0,),
        "cells": (0,),
    }  # fmt: skip


def test_fine_masks_are_read_only_if_asked_for():
    assert set(decoded(record_of(), fine=False)) == {"image", "boxes", "labels", "masks"}


def test_masks_are_compressed():
    fine = [FineMask(0, 0, 1, np.ones((200, 200), bool))] * 3
    boxes, labels = np.zeros((3, 4), np.float32), np.ones(3, np.int32)
    record = record_of(boxes=boxes, labels=labels, masks=np.full((3, 56, 56), 255), fine_masks=fine, side=56)
    assert len(record) < len(file_of(NOISE)) + 600  # of 9,408 bytes of masks and 15,000 of fine masks
    features = tf.train.Example.FromString(record).features.feature
    assert zlib.decompress(features["masks"].bytes_list.value[0]) == b"\xff" * 3 * 56 * 56
    assert zlib.decompress(features["cells"].bytes_list.value[0]) == b"\xff" * 15_000


def test_encoding_is_the_same_each_time():
    fine = [FineMask(1, 2, 3, np.eye(5, dtype=bool))]
    one, again = (
        record_of(boxes=np.ones((1, 4), kind), labels=[3], masks=[[1, 2, 3, 4]], fine_masks=fine)
        for kind in (np.float32, np.float64)
    )
    assert one == again


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_every_orientation_is_that_of_pillow(kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = file_of(NOISE, kind, exif=exif)
    fields = decoded(record_of(content, orientation))
    assert fields["image"].shape == ((17, 12, 3) if orientation > 4 else (12, 17, 3))
    np.testing.assert_array_equal(fields["image"], read_image(content))


def test_upright_in_a_graph_of_unknown_size():
    signature = [tf.TensorSpec([None, None, 3], tf.uint8), tf.TensorSpec([], tf.int64)]
    turned = tf.function(upright, input_signature=signature, autograph=False)(NOISE, 6)
    np.testing.assert_array_equal(turned, np.rot90(NOISE, -1))


def noise(channels, height=33, width=50):
    pixels = np.random.default_rng(channels).integers(0, 256, (height, width, channels), np.uint8)
    return pixels[..., 0] if channels == 1 else pixels


def smooth():
    """A picture like a photograph: JPEG keeps most of it."""
    y, x = np.mgrid[:61, :43]
    return np.stack([128 + 100 * np.sin(x / 7 + y / 9), 2 * y + x, 255 - 4 * x], axis=-1).clip(0, 255).astype(np.uint8)


FILES = {
    "JPEG, colour": file_of(smooth(), "JPEG"),
    "JPEG, of noise": file_of(noise(3), "JPEG", quality=60),
    "JPEG, all colours kept": file_of(smooth(), "JPEG", quality=95, subsampling=0),
    "JPEG, half the colours": file_of(smooth(), "JPEG", subsampling=1),
    "JPEG, progressive": file_of(smooth(), "JPEG", progressive=True),
    "JPEG, grey": file_of(noise(1), "JPEG"),
    "JPEG, of one pixel": file_of(noise(3, 1, 1), "JPEG"),
    "PNG, grey": file_of(noise(1)),
    "PNG, grey with alpha": file_of(noise(2)),
    "PNG, colour": file_of(noise(3)),
    "PNG, colour with alpha": file_of(noise(4)),
}


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("name", FILES)
def test_images_are_those_of_pillow(name, channels):
    image = decode_image(tf.constant(FILES[name]), channels)
    assert image.shape[-1] == channels
    np.testing.assert_array_equal(image, read_image(FILES[name], channels=channels))


def test_one_graph_decodes_every_record():
    decode = tf.function(lambda one: decode_record(one, channels=3, mask_size=2)["image"], autograph=False)
    signature = decode.get_concrete_function(tf.TensorSpec([], tf.string))
    for orientation in (1, 6):
        wanted = NOISE if orientation == 1 else np.rot90(NOISE, -1)
        np.testing.assert_array_equal(signature(tf.constant(record_of(orientation=orientation))), wanted)
