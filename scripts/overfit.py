"""Can the three stages learn real photographs? Trains from scratch on a few images and scores those same images.

    python scripts/overfit.py --annotations coco-mini/annotations/vehicle_person_animal_train.json \\
        --images coco-mini/images/train --run runs/overfit

Takes the first images that have objects, writes them as a data set of their own into the run folder, trains with
`scripts/overfit.yaml` and prints the table.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from keras_mrcnn import StagedTrainer, load_config


def choose_images(annotations: str | os.PathLike, count: int) -> dict:
    """Returns the COCO dict of the first `count` images, by id, that have objects."""
    content = json.loads(Path(annotations).read_text(encoding="utf-8"))
    with_objects = {a["image_id"] for a in content["annotations"] if not a["iscrowd"]}
    chosen = sorted(with_objects)[:count]
    return {
        **content,
        "images": [image for image in content["images"] if image["id"] in chosen],
        "annotations": [a for a in content["annotations"] if a["image_id"] in chosen],
    }


def main() -> None:
    """Writes the data set, trains and prints the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", required=True, help="COCO JSON file")
    parser.add_argument("--images", required=True, help="folder with its images")
    parser.add_argument("--run", required=True, help="run folder, made new")
    parser.add_argument("--count", type=int, default=20, help="how many images")
    parser.add_argument("--config", default=str(Path(__file__).with_name("overfit.yaml")))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting")
    arguments = parser.parse_args()

    folder = Path(arguments.run)
    folder.mkdir(parents=True)
    subset = folder / "annotations.json"
    subset.write_text(json.dumps(choose_images(arguments.annotations, arguments.count)), encoding="utf-8")
    places = [f"data.{split}_annotations={subset}" for split in ("train", "val")]
    places += [f"data.{split}_images={arguments.images}" for split in ("train", "val")]
    config = load_config(arguments.config, (*places, *arguments.set))
    StagedTrainer(config, folder).fit()


if __name__ == "__main__":
    main()
