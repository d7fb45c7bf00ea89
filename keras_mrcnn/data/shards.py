"""The records of prepared data: an image with its objects, ready for training, as a tf.train.Example in a TFRecord.

TFRecord files can be read in order by any TensorFlow program, and each record can be read alone if its place is known.
Every record has

    image        bytes, a JPEG or PNG file that TensorFlow decodes to the same pixels as `base.image_files.read_image`
    orientation  EXIF orientation that is still to be applied, 1..8
    boxes        float32 [G * 4], xyxy pixels of the upright image
    labels       int64 [G], 1..K in the order of the category ids
    masks        bytes, compact masks uint8 [G, S, S], compressed by zlib
    frames       int64 [G * 5], place of each fine mask: left, top, factor, h, w
    cells        bytes, the fine masks, [h * w] bits of each one after another, each begun on a new byte, by zlib

Shapes: G objects, S side of a compact mask, C channels.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from keras_mrcnn.data.fine_masks import FineMask

RECORD_START = 12  # bytes of the length and its checksum, before each record of a TFRecord file
RECORD_END = 4  # bytes of the checksum after it
LUMA = (19595, 38470, 7471)  # Pillow's weights of red, green and blue in grey, in parts of 2^16
ROUNDING = 2**15
# EXIF orientations whose image is mirrored, after those above 4 have been transposed.
MIRRORED_ACROSS, MIRRORED_DOWN = (2, 3, 6, 7), (3, 4, 7, 8)
PNG_START = b"\x89PNG"
FRAME = 5
BIT_PLACES = np.arange(7, -1, -1, dtype=np.uint8)


def encode_record(
    image: bytes,
    orientation: int,
    boxes: np.ndarray,
    labels: np.ndarray,
    masks: np.ndarray,
    fine_masks: Sequence[FineMask],
) -> bytes:
    """Encodes one image and its objects.

    Args:
        image: JPEG or PNG file.
        orientation: EXIF orientation to apply after decoding, 1..8.
        boxes: float32 [G, 4], xyxy pixels of the upright image.
        labels: int [G], 1..K.
        masks: uint8 [G, S, S], compact masks.
        fine_masks: fine mask of each object.

    Returns:
        A serialised tf.train.Example.
    """
    frames = np.array([mask.frame for mask in fine_masks], np.int64)
    cells = b"".join(np.packbits(mask.cells).tobytes() for mask in fine_masks)
    features = {
        "image": _bytes(image),
        "orientation": _integers([orientation]),
        "boxes": tf.train.Feature(float_list=tf.train.FloatList(value=boxes.ravel())),
        "labels": _integers(labels),
        "masks": _bytes(zlib.compress(masks.tobytes(), 1)),
        "frames": _integers(frames.ravel()),
        "cells": _bytes(zlib.compress(cells, 1)),
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)


def _bytes(value: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))


def _integers(values: Sequence[int]) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))


def decode_record(record: tf.Tensor, *, channels: int, mask_size: int, fine: bool = False) -> dict[str, tf.Tensor]:
    """Decodes a record with TensorFlow operations.

    Args:
        record: string [], a serialised tf.train.Example.
        channels: channels of the image, C: 1 for grey, 3 for RGB, 4 for RGB with alpha.
        mask_size: side of the compact masks in the record, S.
        fine: whether to decode the fine masks as well.

    Returns:
        Dict of image uint8 [H, W, C], upright; boxes float32 [G, 4]; labels int32 [G]; masks uint8 [G, S, S]; and with
        `fine` also frames int32 [G, 5] and cells uint8 [n], 0 or 1, those of an object from its row of `starts`,
        int32 [G], on.
    """
    kinds = {"image": tf.string, "orientation": tf.int64, "masks": tf.string, "cells": tf.string}
    spec = {name: tf.io.FixedLenFeature([], kind) for name, kind in kinds.items() if fine or name != "cells"}
    for name, kind in (("boxes", tf.float32), ("labels", tf.int64), ("frames", tf.int64)):
        spec[name] = tf.io.FixedLenSequenceFeature([], kind, allow_missing=True)
    features = tf.io.parse_single_example(record, spec)
    masks = tf.io.decode_raw(tf.io.decode_compressed(features["masks"], "ZLIB"), tf.uint8)
    decoded = {
        "image": upright(decode_image(features["image"], channels), features["orientation"]),
        "boxes": tf.reshape(features["boxes"], [-1, 4]),
        "labels": tf.cast(features["labels"], tf.int32),
        "masks": tf.reshape(masks, [-1, mask_size, mask_size]),
    }
    if fine:
        frames = tf.reshape(tf.cast(features["frames"], tf.int32), [-1, FRAME])
        packed = tf.io.decode_raw(tf.io.decode_compressed(features["cells"], "ZLIB"), tf.uint8)
        bits = tf.bitwise.bitwise_and(tf.bitwise.right_shift(packed[:, None], BIT_PLACES), tf.constant(1, tf.uint8))
        sizes = tf.reduce_prod(frames[:, 3:], axis=1)
        decoded["frames"] = frames
        decoded["starts"] = tf.cumsum(-(-sizes // 8) * 8, exclusive=True)
        decoded["cells"] = tf.reshape(bits, [-1])
    return decoded


def decode_image(content: tf.Tensor, channels: int) -> tf.Tensor:
    """Decodes a JPEG or PNG file to the pixels that Pillow gives.

    Args:
        content: string [], the file.
        channels: 1 for grey, 3 for RGB, 4 for RGB with alpha.

    Returns:
        uint8 [H, W, channels].
    """
    # As Pillow decodes JPEG. The operation reads PNG, too.
    decode = functools.partial(tf.io.decode_jpeg, channels=3, dct_method="INTEGER_ACCURATE")
    if channels == 4:
        return tf.cond(
            tf.equal(tf.strings.substr(content, 0, len(PNG_START)), PNG_START),
            lambda: tf.io.decode_png(content, channels=4),
            lambda: tf.pad(decode(content), [[0, 0], [0, 0], [0, 1]], constant_values=255),
        )
    image = decode(content)
    if channels == 1:
        # Not the operation's own grey, whose weights differ from Pillow's.
        grey = tf.reduce_sum(tf.cast(image, tf.int32) * LUMA, axis=-1, keepdims=True)
        image = tf.cast(tf.bitwise.right_shift(grey + ROUNDING, 16), tf.uint8)
    return image


def upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Applies an EXIF orientation.

    Args:
        image: [H, W, C].
        orientation: int64 [], 1..8.

    Returns:
        The upright image, [H, W, C] or [W, H, C].

    Reference:
        CIPA DC-008 (Exif 2.32), tag 274.
    """

    image = tf.cond(orientation > 4, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
    across, down = (tf.reduce_any(orientation == list(codes)) for codes in (MIRRORED_ACROSS, MIRRORED_DOWN))
    return tf.raw_ops.Reverse(tensor=image, dims=tf.stack([down, across, False]))
