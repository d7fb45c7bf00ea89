import base64
import io

import numpy as np
from PIL import Image
from visualize.made_outputs import make_views, with_nothing_found

from keras_mrcnn.report import PictureScore, picture_panels
from keras_mrcnn.report.panels import data_uri

SCORE = PictureScore(7, 0.8125, detected=2, missed=1, wrong=0)


def decode(uri):
    kind, _, content = uri.partition(",")
    assert kind == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))


def test_panels_of_all_stages():
    outputs = picture_panels("street.jpg", SCORE, make_views())
    assert outputs.words == "quality 0.81: 2 detected, 1 missed, 0 wrong"
    assert [panel.title for panel in outputs.panels] == [
        "Ground truth: 2 objects", "RPN: 2 proposals", "Box head: 2 detections", "Mask head: their masks",
    ]  # fmt: skip
    assert outputs.panels[0].alt == "street.jpg, Ground truth: 2 objects (car, dog)"
    pictures = [decode(panel.source) for panel in outputs.panels]
    assert {picture.shape for picture in pictures} == {(outputs.panels[0].height, outputs.panels[0].width, 3)}
    # In the middle of the car: the RPN and the box head draw frames, the others fill it.
    filled = [np.abs(picture[136, 170].astype(int) - 100).max() > 20 for picture in pictures]
    assert filled == [True, False, False, True]


def test_nothing_found():
    outputs = picture_panels("empty.jpg", SCORE, with_nothing_found(make_views()))
    assert [panel.title for panel in outputs.panels][:3] == [
        "Ground truth: 0 objects", "RPN: 0 proposals", "Box head: 0 detections",
    ]  # fmt: skip


def test_data_uri_keeps_the_picture():
    picture = np.full((20, 30, 3), (200, 30, 60), np.uint8)
    assert np.abs(decode(data_uri(picture)).astype(int) - picture).max() < 8
