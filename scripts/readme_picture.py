"""Draws the pictures of the README: what a run finds on scenes that its training never saw, and its stages on one.

    python scripts/readme_picture.py runs/quickstart data/scenes docs/images
"""

import argparse
from pathlib import Path

COUNT, COLUMNS, CELL, EXAMPLE = 12, 4, (288, 288), 6


def main() -> None:
    """Draws the pictures of a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("scenes", type=Path, help="folder of generated scenes")
    parser.add_argument("pictures", type=Path, help="folder for detections.png and stages.png")
    arguments = parser.parse_args()
    draw(arguments.run, arguments.scenes, arguments.pictures)


def draw(run: Path, scenes: Path, pictures: Path) -> None:
    """Writes detections.png and stages.png into the folder `pictures`."""
    from skimage.io import imsave

    from keras_mrcnn import CocoDataset, MaskRCNN
    from keras_mrcnn.inspection import inspect_stages
    from keras_mrcnn.predict import predict_files
    from keras_mrcnn.visualize import contact_sheet, draw_detections, stage_panels

    pictures.mkdir(parents=True, exist_ok=True)
    model = MaskRCNN.from_preset(run / "model.safetensors")
    paths = sorted((scenes / "images" / "val").iterdir())[:COUNT]
    names = model.config.class_names
    drawn = [
        draw_detections(image, detections, min_score=0.7, class_names=names)
        for _, image, detections in predict_files(model, paths)
    ]
    imsave(pictures / "detections.png", contact_sheet(drawn, COLUMNS, CELL))
    data = CocoDataset(scenes / "annotations" / "val.json", scenes / "images" / "val")
    image_id = data.image_ids[EXAMPLE]
    outputs = inspect_stages(model, data.load_image(image_id), data.ground_truth(image_id))
    stage_panels(outputs).savefig(pictures / "stages.png", dpi=100)


if __name__ == "__main__":
    main()
