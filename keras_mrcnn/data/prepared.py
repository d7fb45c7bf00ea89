"""Prepared data: a folder of shards that hold images, boxes, labels and masks ready for training.

    manifest.json      version, classes, mask size, shards with their SHA-256, counts, what was left out, the source
    index.safetensors  for each image its id, size, number of objects, and the place of its record
    annotations.json   the annotations as a COCO file, without what was left out; for scores and statistics
    shards/            TFRecord files, see `shards`

The manifest is written last, so a folder with a manifest is whole. Only the index is kept in memory, 36 bytes an image.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import tensorflow as tf
from pycocotools.coco import COCO
from safetensors import SafetensorError

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.base.records import GroundTruth
from keras_mrcnn.data.check import DataError
from keras_mrcnn.data.coco import CocoDataset, choose_categories, complete_index
from keras_mrcnn.data.shards import decode_record
from keras_mrcnn.data.storage import join, read_bytes

VERSION = 1
FORMAT = "keras_mrcnn prepared data"
MANIFEST, INDEX, ANNOTATIONS, SHARDS = "manifest.json", "index.safetensors", "annotations.json", "shards"
MEND = "delete the folder and prepare the data again"
# Arrays of the index, with a row for each image.
COLUMNS = {
    "image_ids": np.int64,
    "sizes": np.int32,  # (h, w) of the upright image
    "num_objects": np.int32,
    "shards": np.int32,
    "offsets": np.int64,  # bytes from the start of the shard to the record
    "lengths": np.int32,
}


class PreparedDataset(CocoDataset):
    """A `CocoDataset` whose images and masks come from a folder of prepared data.

    `prepare_dataset` and `keras-mrcnn data prepare` write such folders.

    Args:
        folder: path or URL of the folder.
        class_names: names of the classes to use, in any order; None uses all. Objects of other classes are left out.
        channels: channels of the images: 1 reads them as grey, 3 as RGB, 4 as RGB with alpha.

    Attributes:
        class_names: names of the classes, in the order of their category ids.
        category_ids: category id of each class.
        image_ids: id of each image, rising.
        image_sizes: int32 [N, 2], (h, w) of each upright image; `size_table` has them as a tensor.
        mask_size: side of the compact masks, S.

    Raises:
        ValueError: the folder holds no prepared data, or lacks a file or a class name; the message says which.

    Example:
        >>> dataset = PreparedDataset("prepared/train")  # doctest: +SKIP
        >>> dataset.class_names, len(dataset)  # doctest: +SKIP
        (('vehicle', 'person', 'animal'), 3000)
    """

    def __init__(self, folder: str | Path, class_names: Sequence[str] | None = None, channels: int = 3) -> None:
        self.folder, self.channels = str(folder), channels
        self.manifest = read_manifest(self.folder)
        self.mask_size: int = self.manifest["mask_size"]
        chosen = choose_categories(self.manifest["categories"], class_names, self.folder)
        self.category_ids = tuple(category["id"] for category in chosen)
        self.class_names = tuple(category["name"] for category in chosen)
        stored = [category["id"] for category in self.manifest["categories"]]
        # Of each label in the shards, the label among the chosen classes; 0 for others.
        positions = {number: label for label, number in enumerate(self.category_ids, start=1)}
        self._labels = positions
        self._label_table = np.array([0, *(positions.get(number, 0) for number in stored)], np.int32)
        self.index = _read_index(join(self.folder, INDEX))
        self.image_ids = self.index["image_ids"]
        self.image_sizes = self.index["sizes"]
        # As tensors, so that every pipeline shares them.
        self.size_table = tf.constant(self.image_sizes)
        shards = self.manifest["shards"]
        self._files = tf.constant([join(join(self.folder, SHARDS), shard["file"]) for shard in shards], tf.string)
        self._file_bytes = tf.constant([shard["bytes"] for shard in shards], tf.int64)
        self._places = {name: tf.constant(self.index[name]) for name in ("shards", "offsets", "lengths", "image_ids")}

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def source(self) -> str:
        """Returns the folder that the images come from: that of the prepared data."""
        return self.folder

    @functools.cached_property
    def key(self) -> str:
        """Returns a hash of everything that training reads: 64 hexadecimal digits.

        Names, of files or classes, do not matter, nor does the choice of classes.
        """
        digests = [shard["sha256"] for shard in self.manifest["shards"]]
        content = json.dumps([digests, self.mask_size]).encode() + self.image_ids.tobytes()
        return hashlib.sha256(content).hexdigest()

    @functools.cached_property
    def coco(self) -> COCO:
        """Returns the annotations for pycocotools; read from the folder when they are first needed.

        Raises:
            ValueError: the file is missing or damaged; the message names it.
        """
        path = join(self.folder, ANNOTATIONS)
        try:
            return complete_index(json.loads(read_bytes(path)))
        except (tf.errors.OpError, ValueError, RecursionError) as error:
            raise UserError(f"{path} cannot be read ({error}); {MEND}") from None

    def sample(self, row: tf.Tensor, fine: bool = False) -> dict[str, tf.Tensor]:
        """Reads an image and its objects with TensorFlow operations.

        Args:
            row: int64 [], row of the image.
            fine: whether to read the fine masks as well.

        Returns:
            The fields of `shards.decode_record` for the objects of the chosen classes, and image_id int64 [].
        """
        fields = decode_record(self._record(row), channels=self.channels, mask_size=self.mask_size, fine=fine)
        fields["labels"] = tf.gather(self._label_table, fields["labels"])
        kept = fields["labels"] > 0
        for name in {"labels", "boxes", "masks", "frames", "starts"} & set(fields):
            fields[name] = fields[name][kept]
        return {**fields, "image_id": tf.gather(self._places["image_ids"], row)}

    def image_file(self, row: int) -> bytes:
        """Returns the JPEG or PNG file of an image, which `base.image_files.read_image` decodes.

        Args:
            row: row of the image.

        Raises:
            tf.errors.OpError: the shard that holds it cannot be read.
        """
        fields = tf.io.parse_single_example(self._record(row), {"image": tf.io.FixedLenFeature([], tf.string)})
        return fields["image"].numpy()

    def _record(self, row: tf.Tensor) -> tf.Tensor:
        """Returns the serialised record of an image: string []."""
        shard, start, length = (tf.gather(self._places[name], row) for name in ("shards", "offsets", "lengths"))
        length = tf.cast(length, tf.int64)
        # A data set of exactly these bytes of the file: the operation with which TensorFlow reads a part of a file.
        rest = tf.gather(self._file_bytes, shard) - start - length
        file = tf.gather(self._files, shard)
        return tf.data.FixedLengthRecordDataset(file, length, start, rest, buffer_size=length).get_single_element()

    def load_image(self, image_id: int) -> np.ndarray:
        """Returns the upright pixels of an image: uint8 [H, W, C].

        Raises:
            DataError: the shard that holds it is damaged; the message names it.
        """
        return self._read(image_id)["image"]

    def ground_truth(self, image_id: int, mask_size: int | None = None) -> GroundTruth:
        """Returns boxes, labels and compact masks of an image, as `CocoDataset.ground_truth` does.

        Args:
            image_id: id of the image.
            mask_size: 0 for no masks; otherwise the masks have the side with which they were prepared.

        Raises:
            DataError: the shard that holds it is damaged; the message names it.
        """
        fields = self._read(image_id)
        names = tuple(self.class_names[label - 1] for label in fields["labels"])
        masks = None if mask_size == 0 else fields["masks"]
        return GroundTruth(fields["boxes"], fields["labels"], masks, names, fields["image"].shape[:2])

    def _read(self, image_id: int) -> dict[str, np.ndarray]:
        """Returns the fields of `sample` in NumPy."""
        try:
            return {name: value.numpy() for name, value in self.sample(self._row(image_id)).items()}
        except tf.errors.OpError:
            self.check()
            raise

    def check(self) -> None:
        """Compares every shard with its SHA-256. Raises `DataError` for the first that is missing or differs."""
        for shard in self.manifest["shards"]:
            path = join(join(self.folder, SHARDS), shard["file"])
            try:
                same = hashlib.sha256(read_bytes(path)).hexdigest() == shard["sha256"]
            except tf.errors.OpError as error:
                raise DataError(f"{path} cannot be read ({error.message}); {MEND}") from None
            if not same:
                raise DataError(f"{path} is not as it was written; {MEND}")

    def _row(self, image_id: int) -> int:
        row = int(np.searchsorted(self.image_ids, image_id))
        if row == len(self) or self.image_ids[row] != image_id:
            raise UserError(f"{self.folder} has no image with the id {image_id}; `image_ids` lists those it has")
        return row


def open_dataset(
    annotations: str | Path,
    image_folder: str | Path | None = None,
    class_names: Sequence[str] | None = None,
    channels: int = 3,
) -> CocoDataset:
    """Opens prepared data, or annotations with their images.

    Args:
        annotations: folder of prepared data, or COCO JSON file.
        image_folder: folder of the images of a COCO file.
        class_names, channels: as for `CocoDataset`.
    """
    if is_prepared(annotations):
        return PreparedDataset(annotations, class_names, channels)
    return CocoDataset(annotations, image_folder, class_names, channels)


def is_prepared(folder: str | Path) -> bool:
    """Returns whether a folder holds prepared data."""
    return tf.io.gfile.exists(join(str(folder), MANIFEST))


def read_manifest(folder: str) -> dict[str, Any]:
    """Reads the manifest of prepared data.

    Raises:
        ValueError: there is none, it is damaged, or this version cannot read it; the message names it.
    """
    path = join(folder, MANIFEST)
    try:
        manifest = json.loads(read_bytes(path))
    except tf.errors.NotFoundError:
        command = f"`keras-mrcnn data prepare SOURCE {folder}`"
        raise UserError(f"{folder} has no {MANIFEST}; make it with {command}") from None
    except (tf.errors.OpError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({error}); {MEND}") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise UserError(f"{path} is not the manifest of prepared data; name another folder")
    if manifest["version"] != VERSION:
        raise UserError(f"{path} has version {manifest['version']}, not {VERSION}; {MEND}")
    return manifest


def _read_index(path: str) -> dict[str, np.ndarray]:
    """Reads the arrays of an index. Raises ValueError."""
    try:
        index = safetensors.numpy.load(read_bytes(path))
        return {name: index[name].astype(dtype, copy=False) for name, dtype in COLUMNS.items()}
    except (tf.errors.OpError, SafetensorError, KeyError) as error:
        raise UserError(f"{path} cannot be read ({error}); {MEND}") from None
