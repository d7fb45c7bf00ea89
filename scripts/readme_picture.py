"""Draws the picture of the README: what a run finds on scenes that its training never saw.

    python scripts/readme_picture.py runs/quickstart data/scenes/images/val docs/images/detections.png
"""

import sys
from pathlib import Path

from skimage.io import imsave

from keras_mrcnn import load_weights
from keras_mrcnn.data.images import read_image
from keras_mrcnn.predict import predict_files
from keras_mrcnn.visualize import contact_sheet, draw_detections

COUNT, COLUMNS, CELL = 12, 4, (288, 288)


def main(run, folder, picture):
    model = load_weights(None, Path(run) / "model.safetensors")
    paths = sorted(Path(folder).iterdir())[:COUNT]
    found = dict(predict_files(model, paths, batch_size=4))
    names = model.config.class_names
    drawn = [draw_detections(read_image(path), found[path], min_score=0.7, class_names=names) for path in paths]
    Path(picture).parent.mkdir(parents=True, exist_ok=True)
    imsave(picture, contact_sheet(drawn, COLUMNS, CELL))


if __name__ == "__main__":
    main(*sys.argv[1:])
