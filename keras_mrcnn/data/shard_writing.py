"""Writes one shard of prepared data: checks its images and objects, and stores those without a fault.

A shard depends on its job alone, so any process on any machine may write it, again and with the same bytes. As a
program, this module is such a process: it reads pickled jobs from its input and answers each with one pickled message,
None or the exception that ended the job.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from keras_mrcnn.base.image_files import read_image
from keras_mrcnn.base.silent_pillow import silent_pillow
from keras_mrcnn.data.check import Problem, image_file_fault
from keras_mrcnn.data.compact_masks import compact_mask
from keras_mrcnn.data.fine_masks import fine_mask
from keras_mrcnn.data.records import clipped_box
from keras_mrcnn.data.segmentations import full_mask, segmentation_fault
from keras_mrcnn.data.shards import RECORD_END, RECORD_START, encode_record
from keras_mrcnn.data.storage import publish, read_bytes, temporary_path, write_bytes

ORIENTATION = 0x0112
# What TensorFlow decodes to the same pixels as Pillow: formats and Pillow's modes. MPO is a JPEG file with more images
# after the first, as many cameras write it.
KEPT = {"JPEG": {"L", "RGB"}, "MPO": {"L", "RGB"}, "PNG": {"L", "LA", "RGB", "RGBA"}}
PNG_DEPTH = 24  # place of the byte with the bits of a sample
SUMMARY_SUFFIX = ".json"


class ImageJob(NamedTuple):
    """One image of a shard.

    Attributes:
        row: its place in the list 'images' of the annotations.
        record: its well-formed entry there.
        annotations: (place in the list 'annotations', entry there) of each of its objects and crowd regions.
    """

    row: int
    record: dict
    annotations: tuple[tuple[int, dict], ...]


class ShardJob(NamedTuple):
    """Everything that the content of one shard depends on.

    Attributes:
        path: path of the TFRecord file to write; its summary is written beside it.
        images: the images, in order.
        image_folder: folder that their file names are relative to.
        labels: label, 1..K, of each category id.
        mask_size: side of the compact masks.
    """

    path: str
    images: tuple[ImageJob, ...]
    image_folder: Path
    labels: Mapping[int, int]
    mask_size: int


def write_shard(job: ShardJob) -> None:
    """Checks the images and objects of a shard, and writes those without a fault, and a summary.

    The summary, a JSON file, has problems (as `data.check` describes them), bytes and sha256 of the shard, and for each
    stored image image_ids, sizes (h, w), offsets and lengths of its record in bytes, and num_objects. It is written
    last, so that a shard with a summary is whole.

    Args:
        job: the shard.

    Raises:
        tf.errors.OpError: the shard cannot be written.
    """
    problems: list[Problem] = []
    columns: dict[str, list] = {name: [] for name in ("image_ids", "sizes", "offsets", "lengths", "num_objects")}
    end, temporary = 0, temporary_path(job.path)
    with tf.io.TFRecordWriter(temporary) as writer:
        for image in job.images:
            found = list(_problems(image, job.image_folder))
            problems += found
            bad = {problem.record for problem in found}
            if ("images", image.row) in bad:
                continue
            good = [record for row, record in image.annotations if ("annotations", row) not in bad]
            record, count = _record(image.record, good, job)
            writer.write(record)
            size = [image.record["height"], image.record["width"]]
            for name, value in zip(columns, (image.record["id"], size, end + RECORD_START, len(record), count)):
                columns[name].append(value)
            end += RECORD_START + len(record) + RECORD_END
    publish(temporary, job.path)
    digest = hashlib.sha256(read_bytes(job.path)).hexdigest()
    summary = {"bytes": end, "sha256": digest, **columns, "problems": [vars(problem) for problem in problems]}
    write_bytes(job.path + SUMMARY_SUFFIX, json.dumps(summary).encode())


def _problems(image: ImageJob, image_folder: Path) -> Iterator[Problem]:
    """Gives the problems of an image file and of the masks of its objects."""
    name, height, width = (image.record[field] for field in ("file_name", "height", "width"))
    fault = image_file_fault(image_folder, image.record)
    if fault:
        yield Problem(fault[0], name, None, fault[1], ("images", image.row))
    for row, annotation in image.annotations:
        fault = segmentation_fault(annotation.get("segmentation"), height, width)
        if fault:
            yield Problem("bad segmentation", name, annotation["id"], fault, ("annotations", row))


def _record(image: dict, annotations: list[dict], job: ShardJob) -> tuple[bytes, int]:
    """Returns the record of an image with its good annotations, and the number of objects in it."""
    objects = [annotation for annotation in annotations if not annotation.get("iscrowd", 0)]
    size = image["height"], image["width"]
    boxes = np.array([clipped_box(one["bbox"], *size) for one in objects], np.float32).reshape(-1, 4)
    labels = np.array([job.labels[one["category_id"]] for one in objects], np.int32)
    outlines = [one["segmentation"] for one in objects]
    masks = [compact_mask(full_mask(outline, *size), box, job.mask_size) for outline, box in zip(outlines, boxes)]
    fine_masks = [fine_mask(outline, *size) for outline in outlines]
    content, orientation = _stored_image(job.image_folder / image["file_name"])
    compact = np.array(masks, np.uint8).reshape(-1, job.mask_size, job.mask_size)
    return encode_record(content, orientation, boxes, labels, compact, fine_masks), len(objects)


def _stored_image(path: Path) -> tuple[bytes, int]:
    """Returns an image file that TensorFlow decodes, with the same pixels, and its EXIF orientation."""
    content = path.read_bytes()
    with silent_pillow():
        image = Image.open(io.BytesIO(content))
        if image.mode in KEPT.get(image.format, ()) and not _is_odd_png(image, content):
            orientation = image.getexif().get(ORIENTATION, 1)
            return content, int(orientation) if orientation in range(1, 9) else 1
    png = io.BytesIO()
    channels = 4 if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info else 3
    Image.fromarray(read_image(content, channels=channels)).save(png, "PNG", compress_level=1)
    return png.getvalue(), 1


def _is_odd_png(image: Image.Image, content: bytes) -> bool:
    """Returns whether a PNG has a transparent colour, or few bits, of which TensorFlow makes another alpha channel."""
    return image.format == "PNG" and ("transparency" in image.info or content[PNG_DEPTH] < 8)


def main() -> None:
    """Writes the shards of the jobs that come in, until there are no more."""
    answers = sys.stdout.buffer
    sys.stdout = sys.stderr  # nothing else may come between the answers
    while True:
        try:
            job = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            write_shard(job)
            answer = None
        except Exception as error:  # the process that asked raises it
            answer = error
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    main()
