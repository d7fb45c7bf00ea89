"""The key of a cache changes with all that its content depends on, and with nothing else."""

import json
import os
import shutil

import pytest
from mixed_data import write_mixed
from small_training import small_config, small_model

from keras_mrcnn.data.prepare import prepare_dataset
from keras_mrcnn.data.prepared import PreparedDataset
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.training.cache_key import cache_key
from keras_mrcnn.weights.names import named_weights

SETTINGS = {"dtype": "float32", "sampling": {"min_size": 64, "seed": 0}}


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture
def files(tmp_path):
    return write_mixed(tmp_path)


def key_of(model, files, prepared="prepared", **settings):
    data = prepare_dataset(*files, files[0].parent / prepared, mask_size=28)
    return cache_key(model, data, {**SETTINGS, **settings})


def like(model, config):
    """A new model with the weights of the model wherever both have them."""
    other = MaskRCNN(config)
    for name, entry in named_weights(other).items():
        if name.startswith(("backbone.", "rpn.")):
            entry.variable.assign(named_weights(model)[name].variable)
    return other


def test_the_same_gives_the_same(model, files):
    key = key_of(model, files)
    assert key == key_of(like(model, small_config()), files)
    assert len(key) == 24 and int(key, 16) >= 0


def test_heads_class_names_and_where_the_weights_came_from_do_not_matter(model, files):
    config = small_config(class_names=("one", "two"), box_head={"channels": 24}, mask_head={"channels": 8})
    backbone = config.backbone.model_copy(update={"weights": "somewhere.pth"})
    other = like(model, config.model_copy(update={"backbone": backbone}))
    assert key_of(model, files) == key_of(other, files)


@pytest.mark.parametrize(
    "name", ["backbone.body.conv1.weight", "backbone.fpn.inner_blocks.0.0.bias", "rpn.head.bbox_pred.bias"]
)
def test_other_frozen_weights(model, files, name):
    before, variable = key_of(model, files), named_weights(model)[name].variable
    value = variable.numpy()
    try:
        variable.assign(value + 1e-6)
        assert key_of(model, files) != before
    finally:
        variable.assign(value)
    assert key_of(model, files) == before


def test_other_weights_of_a_head_do_not_matter(model, files):
    before, variable = key_of(model, files), named_weights(model)["roi_heads.box_predictor.cls_score.bias"].variable
    variable.assign(variable + 1.0)
    assert key_of(model, files) == before


def test_other_proposals(model, files):
    config = small_config()
    rpn = config.rpn.model_copy(update={"nms_iou": 0.6})
    assert key_of(like(model, config.model_copy(update={"rpn": rpn})), files) != key_of(model, files)


@pytest.mark.parametrize("change", [{"dtype": "float16"}, {"sampling": {"min_size": 64, "seed": 1}}])
def test_other_settings(model, files, change):
    assert key_of(model, files, **change) != key_of(model, files)


def change_annotations(files, change):
    content = json.loads(files[0].read_text())
    change(content)
    files[0].write_text(json.dumps(content))


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["annotations"].pop(),
        lambda content: content["annotations"][0]["bbox"].__setitem__(0, 3),
        lambda content: content["annotations"][0]["segmentation"][0].__setitem__(0, 3),
        lambda content: content["images"].pop(3),  # the one without objects
        lambda content: content["categories"].append({"id": 0, "name": "before all others"}),
    ],
    ids=["object gone", "box", "outline", "image gone", "labels moved"],
)
def test_other_annotations(model, files, change):
    before = key_of(model, files)
    change_annotations(files, change)
    assert key_of(model, files) != before


def test_renamed_classes_do_not_matter(model, files):
    before = key_of(model, files)
    change_annotations(files, lambda content: content["categories"][0].update(name="renamed"))
    assert key_of(model, files) == before


def test_changed_image_file(model, files):
    before, image = key_of(model, files), files[1] / "1.png"
    facts = image.stat()
    os.utime(image, ns=(facts.st_atime_ns, facts.st_mtime_ns + 1))
    assert key_of(model, files) == before  # it has been looked at again, and is the same
    image.write_bytes(image.read_bytes() + b"longer")
    assert key_of(model, files) != before


def test_where_the_files_are_does_not_matter(model, files, tmp_path, monkeypatch):
    before = key_of(model, files)
    shutil.copytree(files[1], tmp_path / "copy")
    assert key_of(model, (files[0], tmp_path / "copy"), "copy-prepared") == before
    monkeypatch.chdir(files[1].parent)
    assert key_of(model, (files[0], "images")) == before
    prepared = prepare_dataset(*files, tmp_path / "elsewhere", mask_size=28)
    assert cache_key(model, prepared, SETTINGS) == before


def test_other_masks_and_other_classes(model, files):
    before, folder = key_of(model, files), files[0].parent / "prepared"
    for names in (("person",), ("person", "vehicle")):
        assert cache_key(model, PreparedDataset(folder, names), SETTINGS) != before
    assert cache_key(model, PreparedDataset(folder, ("animal", "person", "vehicle")), SETTINGS) == before
    assert cache_key(model, prepare_dataset(*files, folder, mask_size=14), SETTINGS) != before
