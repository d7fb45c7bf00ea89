"""Reads COCO instance annotations with pycocotools.

Crowd regions are not part of the ground truth, but stay in `CocoDataset.coco` for COCOeval. Category ids may be any
integers; the labels 1..K are the classes in the order of their category ids.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as mask_api
from pycocotools.coco import COCO

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.base.image_files import read_image
from keras_mrcnn.base.records import GroundTruth
from keras_mrcnn.data.compact_masks import compact_mask
from keras_mrcnn.data.records import FAULT_OF, clipped_box
from keras_mrcnn.data.segmentations import full_mask, malformed_segmentation

# `compact_masks` has the measurements behind this choice.
DEFAULT_MASK_SIZE = 56
_ADVICE = "correct it; `keras-mrcnn data check` lists everything that is wrong, and --skip-bad leaves it out"


class CocoDataset:
    """A COCO instance data set: its annotation file and the folder with its images.

    Args:
        annotation_file: COCO JSON file, or its content as a dict, such as `data.check.drop_bad` returns.
        image_folder: folder that the `file_name` of the images is relative to.
        class_names: names of the classes to use, in any order; None uses all. Objects of other classes are left out.
        channels: channels of the pictures: 1 reads them as grey, 3 as RGB, 4 as RGB with alpha.

    Raises:
        ValueError: the file is not COCO JSON, has a malformed record, or lacks a class name; the message says which.

    Example:
        >>> content = {
        ...     "images": [{"id": 7, "file_name": "a.jpg", "height": 4, "width": 6}],
        ...     "annotations": [{"id": 1, "image_id": 7, "category_id": 5, "bbox": [1, 1, 2, 2], "area": 4,
        ...                      "iscrowd": 0, "segmentation": [[1, 1, 3, 1, 3, 3, 1, 3]]}],
        ...     "categories": [{"id": 5, "name": "cat"}, {"id": 9, "name": "dog"}],
        ... }
        >>> dataset = CocoDataset(content, "images")
        >>> dataset.class_names, dataset.ground_truth(7).boxes.tolist()
        (('cat', 'dog'), [[1.0, 1.0, 3.0, 3.0]])
    """

    def __init__(
        self,
        annotation_file: str | Path | dict,
        image_folder: str | Path,
        class_names: Sequence[str] | None = None,
        channels: int = 3,
    ) -> None:
        content = annotation_file if isinstance(annotation_file, dict) else load_annotations(annotation_file)
        _check_lists(content, "the content that was given")
        self.image_folder = Path(image_folder)
        self.channels = channels
        self.coco = index_annotations(content)
        categories = choose_categories(self.coco.cats.values(), class_names, "the annotation file")
        self.category_ids = tuple(category["id"] for category in categories)
        self.class_names = tuple(category["name"] for category in categories)
        self._labels = {category_id: label for label, category_id in enumerate(self.category_ids, start=1)}
        self.image_ids = sorted(self.coco.imgs)
        sizes = [(self.coco.imgs[i]["height"], self.coco.imgs[i]["width"]) for i in self.image_ids]
        self.image_sizes = np.array(sizes, dtype=np.int64).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def source(self) -> str:
        """Returns the folder that the images come from."""
        return str(self.image_folder)

    def file_name(self, image_id: int) -> str:
        """Returns the name of an image file, relative to the folder of the images."""
        return self.coco.imgs[image_id]["file_name"]

    def image_path(self, image_id: int) -> Path:
        """Returns the path of an image file."""
        return self.image_folder / self.file_name(image_id)

    def load_image(self, image_id: int) -> np.ndarray:
        """Returns the upright pixels of an image: uint8 [H, W, C].

        Raises:
            ValueError: the file is missing or damaged, or its size is not the one in the annotations; the message
                names it.
        """
        image = read_image(self.image_path(image_id), channels=self.channels)
        record = self.coco.imgs[image_id]
        expected = (record["height"], record["width"])
        if image.shape[:2] != expected:
            raise UserError(
                f"image file {self.image_path(image_id)} is {image.shape[1]} x {image.shape[0]} pixels, but the "
                f"annotations say {expected[1]} x {expected[0]}; correct the one that is wrong"
            )
        return image

    def annotations(self, image_id: int) -> list[dict]:
        """Returns the annotations of an image as in the file, without crowd regions and unused classes."""
        return [
            annotation
            for annotation in self.coco.imgToAnns.get(image_id, [])
            if not annotation.get("iscrowd", 0) and annotation["category_id"] in self._labels
        ]

    def ground_truth(self, image_id: int, mask_size: int = DEFAULT_MASK_SIZE) -> GroundTruth:
        """Returns boxes, labels and compact masks of an image.

        Args:
            image_id: id of the image.
            mask_size: side S of the compact masks; 0 makes none, which is faster.

        Returns:
            GroundTruth with boxes float32 [G, 4] (xyxy pixels of the original image, clipped to it), labels int32 [G]
            in 1..K, masks uint8 [G, S, S]; G is 0 for an image without objects.

        Raises:
            ValueError: a box has no area inside the image, or an object has no mask; the message names image and
                annotation.
        """
        record = self.coco.imgs[image_id]
        annotations = self.annotations(image_id)
        boxes = np.zeros((len(annotations), 4), np.float32)
        masks = np.zeros((len(annotations), mask_size, mask_size), np.uint8) if mask_size else None
        for row, annotation in enumerate(annotations):
            boxes[row] = clipped_box(annotation["bbox"], record["height"], record["width"])
            if not (boxes[row, 2] > boxes[row, 0] and boxes[row, 3] > boxes[row, 1]):
                raise UserError(
                    f"the box of annotation {annotation['id']} has no area inside the image {record['file_name']}; "
                    "correct it, or leave it out with --skip-bad"
                )
            if masks is not None:
                masks[row] = compact_mask(_full_mask(annotation, record), boxes[row], mask_size)
        labels = np.array([self._labels[annotation["category_id"]] for annotation in annotations], np.int32)
        return GroundTruth(
            boxes=boxes,
            labels=labels,
            masks=masks,
            class_names=tuple(self.class_names[label - 1] for label in labels),
            image_size=(record["height"], record["width"]),
        )


def _full_mask(annotation: dict, record: dict) -> np.ndarray:
    """Returns the full-size mask of an annotation: uint8 [H, W], 0 or 1."""
    if not annotation.get("segmentation"):
        raise UserError(
            f"annotation {annotation['id']} of image {record['file_name']} has no segmentation; add it, or leave the "
            "annotation out with --skip-bad"
        )
    return full_mask(annotation["segmentation"], record["height"], record["width"])


def load_annotations(path: str | Path) -> dict:
    """Reads a COCO JSON file, and checks that it has the lists 'images', 'annotations' and 'categories'.

    Args:
        path: path of the file.

    Returns:
        Content of the file; the entries of its lists are not checked.

    Raises:
        ValueError: the file is missing, is not JSON, or lacks a list; the message names file and list.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise UserError(f"annotation file {path} does not exist; check the path") from error
    except OSError as error:
        raise UserError(f"annotation file {path} cannot be read ({error.strerror}); check the path") from error
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, an integer too long to parse, nested too deep
        raise UserError(f"annotation file {path} is not valid JSON ({error}); export it again") from error
    _check_lists(content, f"annotation file {path}")
    return content


def _check_lists(content: Any, name: str) -> None:
    """Raises ValueError, which calls the content `name`, unless it is an object with the three lists."""
    if not isinstance(content, dict):
        raise UserError(
            f"{name} is not a COCO file; its top level must be an object with the lists 'images', 'annotations' and "
            "'categories'"
        )
    for key in ("images", "annotations", "categories"):
        if not isinstance(content.get(key), list):
            raise UserError(f"{name} has no list '{key}'; it must be in the COCO instances format")


def index_annotations(content: dict) -> COCO:
    """Makes a pycocotools COCO object from the content of a COCO file; prints nothing.

    Annotations get the fields that COCOeval needs if they lack them: `iscrowd`, `area` and an id that is not 0.

    Args:
        content: content of a COCO file, such as `load_annotations` returns.

    Raises:
        ValueError: a record is malformed, or has a segmentation that pycocotools cannot read; the message names the
            record.
    """
    for name, fault_of in FAULT_OF.items():
        for row, record in enumerate(content[name], start=1):
            fault = fault_of(record)
            if fault:
                raise UserError(f"entry {row} of '{name}' in the annotations {fault}; {_ADVICE}")
    images = {image["id"]: image for image in content["images"]}
    for annotation in content["annotations"]:
        _check_segmentation(annotation, images)
    return complete_index(content)


def complete_index(content: dict) -> COCO:
    """Makes a pycocotools COCO object as `index_annotations` does, but without checking the records."""
    coco = COCO()
    coco.dataset = {**content, "annotations": _complete(content["annotations"])}
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    for annotation in coco.dataset["annotations"]:
        if "area" not in annotation:
            annotation["area"] = _area(coco, annotation)
    return coco


def _check_segmentation(annotation: dict, images: dict[int, dict]) -> None:
    """Raises ValueError if an annotation has a segmentation that pycocotools cannot read."""
    image, segmentation = images.get(annotation["image_id"]), annotation.get("segmentation")
    if segmentation is None or segmentation == [] or image is None:  # a box alone, or an image that is never read
        return
    fault = malformed_segmentation(segmentation, image["height"], image["width"])
    if fault:
        raise UserError(
            f"the segmentation of annotation {annotation['id']} of image {image['file_name']} cannot be used "
            f"({fault}); {_ADVICE}"
        )


def _area(coco: COCO, annotation: dict) -> float:
    """Returns the area of an annotation's mask in pixels, or that of its box if it has no mask."""
    if annotation.get("segmentation") and annotation["image_id"] in coco.imgs:
        return float(mask_api.area(coco.annToRLE(annotation)))
    return float(annotation["bbox"][2] * annotation["bbox"][3])


def _complete(annotations: list[dict]) -> list[dict]:
    """Returns copies of the annotations that COCOeval can use: with `iscrowd`, and without an id 0."""
    free_id = max((annotation["id"] for annotation in annotations), default=0) + 1
    completed = [{"iscrowd": 0, **annotation} for annotation in annotations]
    for annotation in completed:
        if annotation["id"] == 0:
            # COCOeval writes 0 for "no match", so it would count an object with the id 0 as missed.
            annotation["id"] = max(free_id, 1)
    return completed


def choose_categories(categories: Iterable[dict], class_names: Sequence[str] | None, source: str) -> list[dict]:
    """Returns the categories with the given names, or all for None, in the order of their ids.

    Args:
        categories: entries of 'categories'.
        class_names: names to choose.
        source: what the categories come from, for the message.

    Raises:
        ValueError: there is no category of a name.
    """
    categories = sorted(categories, key=lambda category: category["id"])
    if class_names is None:
        return categories
    names = [category["name"] for category in categories]
    missing = [name for name in class_names if name not in names]
    if missing:
        raise UserError(
            f"class_names has {', '.join(map(repr, missing))}, which {source} does not; it has {', '.join(names)}"
        )
    return [category for category in categories if category["name"] in set(class_names)]
