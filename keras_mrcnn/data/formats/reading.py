"""Reads annotations of any format."""

from __future__ import annotations

from pathlib import Path

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.formats.cityscapes import read_cityscapes
from keras_mrcnn.data.formats.coco import CROWDS, read_coco
from keras_mrcnn.data.formats.collector import Annotations, Collector
from keras_mrcnn.data.formats.cvat import read_cvat
from keras_mrcnn.data.formats.labelme import read_labelme
from keras_mrcnn.data.formats.labelme_xml import read_labelme_xml
from keras_mrcnn.data.formats.masks import read_masks
from keras_mrcnn.data.formats.names import split_name
from keras_mrcnn.data.formats.splits import checked_format, coco_files, find_splits
from keras_mrcnn.data.formats.via import read_via
from keras_mrcnn.data.formats.voc import read_voc
from keras_mrcnn.data.formats.yolo import read_yolo

_READERS = {
    "labelme": read_labelme,
    "labelme-xml": read_labelme_xml,
    "via": read_via,
    "masks": read_masks,
    "voc": read_voc,
    "cityscapes": read_cityscapes,
    "cvat": read_cvat,
}


def read_annotations(
    source: Path,
    *,
    images: Path | None = None,
    format: str | None = None,
    split: str | None = None,
    crowds: str = "ask",
    skip_missing: bool = False,
) -> Annotations:
    """Reads annotations of any format as the content of a COCO file.

    Args:
        source: path of a file or a folder, such as `find_splits` gives.
        images: folder of the pictures, where it is not to be found beside the annotations.
        format: one of `FORMATS`, or None to tell it from the files.
        split: which split, a name that `find_splits` gives; None or "" if the source has one.
        crowds: for COCO files: "regions" keeps crowd regions (iscrowd 1), "objects" makes objects of them, and "ask"
            keeps them unless a program seems to have marked objects so.
        skip_missing: whether pictures without a file are left out and counted.

    Returns:
        `Annotations`. Category and image ids are from 1 in order of first appearance, unless the source numbers them.
        A segmentation is a list of polygons, or a compressed run-length code where the source has a mask. Boxes are
        inside the picture. What is no object with an area is left out and counted. Records of COCO files stay as they
        are, also malformed ones: `data.check` lists those.

    Raises:
        CrowdQuestion: `crowds` is "ask", and a COCO file marks all masks as crowd regions.
        UserError: the source does not exist, is malformed, or its format is not known; pictures are missing whose
            sizes the annotations do not say; or there are several splits and none was chosen.

    Example:
        >>> import json, tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> shape = {"label": "cat", "points": [[1, 1], [3, 1], [3, 4]], "shape_type": "polygon"}
        >>> picture = {"imagePath": "a.jpg", "imageHeight": 5, "imageWidth": 6, "shapes": [shape]}
        >>> _ = (folder / "a.json").write_text(json.dumps(picture))
        >>> content, image_folder, format, skipped, notes = read_annotations(folder)
        >>> format, content["annotations"][0]["segmentation"], notes[0].partition(" in ")[0]
        ('labelme', [[1, 1, 3, 1, 3, 4]], '1 of 1 pictures is not')
    """
    source, images = Path(source), Path(images) if images else None
    format = checked_format(source, format)
    if crowds not in CROWDS:
        raise UserError(f"crowds is {crowds!r}, expected one of {', '.join(CROWDS)}")
    if images and not images.is_dir():
        raise UserError(f"the folder of pictures {images} does not exist; check the path")
    name, place = _chosen_split(source, format, split)
    if images and name and (images / name).is_dir():
        images = images / name
    if format == "coco":
        return read_coco(_coco_file(place), images, crowds, skip_missing)
    collector = Collector(format, source, skip_missing)
    if format == "yolo":
        read_yolo(source, images, collector, name)
    else:
        _READERS[format](place, images, collector)
    return collector.finish()


def _chosen_split(source: Path, format: str, split: str | None) -> tuple[str, Path]:
    """Returns name and place of the split to read."""
    splits = find_splits(source, format)
    if not split:
        if len(splits) > 1:
            raise UserError(f"{source} has the splits {', '.join(splits)}; choose one with --split")
        return next(iter(splits.items()))
    for name in (split, split_name(split)):
        if name in splits:
            return name, splits[name]
    for other in (source / "annotations" / f"{split}.json", source / f"{split}.json"):
        if format == "coco" and other.is_file():
            return split, other
    names = ", ".join(name for name in splits if name)
    raise UserError(f"{source} has no split {split}; " + (f"choose one of {names}" if names else "it has no splits"))


def _coco_file(place: Path) -> Path:
    """Returns the COCO file, which may be the only one in a folder."""
    if not place.is_dir():
        return place
    files = list(coco_files(place).values())
    if len(files) != 1:
        raise UserError(f"{place} has {len(files) or 'no'} COCO files; name the one to read")
    return files[0]
