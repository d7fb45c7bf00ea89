"""Writes a data set with as many images and objects as COCO's training set, but small pictures, for benchmarks.

    python scripts/large_dataset.py data/large --images 118287

The annotation file is as large as COCO's (about 450 MB): 7.3 objects an image, polygons of about 25 points. A hundred
different pictures of 80 x 60 pixels are linked under all file names.
"""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import click
import numpy as np
from PIL import Image

COCO_IMAGES = 118_287
OBJECTS_AN_IMAGE = 7.263
HEIGHT, WIDTH, PICTURES, CLASSES, POINTS = 60, 80, 100, 80, 25


def picture(random: np.random.Generator) -> bytes:
    """Returns a JPEG file of noise."""
    content = io.BytesIO()
    Image.fromarray(random.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)).save(content, "JPEG")
    return content.getvalue()


def objects(random: np.random.Generator, count: int) -> list[dict]:
    """Returns objects with star-shaped polygons, without ids."""
    angles = np.sort(random.uniform(0, 2 * np.pi, (count, POINTS)), axis=1)
    radii = random.uniform(4, 14, (count, 1)) * random.uniform(0.7, 1.0, (count, POINTS))
    centres = random.uniform([15, 15], [WIDTH - 15, HEIGHT - 15], (count, 2))
    points = centres[:, None] + radii[..., None] * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    points = points.round(2)
    low, high = points.min(axis=1), points.max(axis=1)
    boxes = np.concatenate([low, high - low], axis=1).round(2)
    return [
        {
            "category_id": int(category),
            "bbox": box,
            "area": box[2] * box[3],
            "iscrowd": 0,
            "segmentation": [polygon],
        }
        for category, box, polygon in zip(
            random.integers(1, CLASSES + 1, count), boxes.tolist(), points.reshape(count, 2 * POINTS).tolist()
        )
    ]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--images", "count", type=click.IntRange(1), default=COCO_IMAGES, help="How many images.")
@click.option("--seed", type=click.IntRange(0), default=0)
def main(folder: Path, count: int, seed: int) -> None:
    """Write FOLDER/annotations/train.json and FOLDER/images/train."""
    random = np.random.default_rng(seed)
    (folder / "annotations").mkdir(parents=True)
    (folder / "images" / "train").mkdir(parents=True)
    (folder / "pictures").mkdir()
    for number in range(PICTURES):
        (folder / "pictures" / f"{number}.jpg").write_bytes(picture(random))
    image_ids = np.repeat(np.arange(1, count + 1), random.poisson(OBJECTS_AN_IMAGE, count)).tolist()
    drawn = objects(random, len(image_ids))
    annotations = [{"id": row, "image_id": of, **one} for row, (of, one) in enumerate(zip(image_ids, drawn), start=1)]
    images = []
    for image_id in range(1, count + 1):
        name = f"{image_id:012d}.jpg"
        os.link(folder / "pictures" / f"{image_id % PICTURES}.jpg", folder / "images" / "train" / name)
        images.append({"id": image_id, "file_name": name, "height": HEIGHT, "width": WIDTH})
    categories = [{"id": number, "name": f"class {number}"} for number in range(1, CLASSES + 1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations" / "train.json").write_text(json.dumps(content), encoding="utf-8")
    click.echo(f"{folder}: {count} images, {len(annotations)} objects")


if __name__ == "__main__":
    main()
