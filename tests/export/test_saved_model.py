import io
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from export.models import assert_same, blank_image, noise_image
from PIL import Image

from keras_mrcnn.export import saved_model
from keras_mrcnn.export.saved_model import export_saved_model
from keras_mrcnn.mask_rcnn.detector import ExportError

ANY = SimpleNamespace(config=SimpleNamespace(min_size=1, max_size=1, channels=3))
CLIENT = """
import sys
sys.modules["keras_mrcnn"] = None  # an import of it fails, even where it is installed
import numpy as np, tensorflow as tf
path, images, out = sys.argv[1:]
images = np.load(images)
signatures = tf.saved_model.load(path).signatures
found = signatures["detect"](images=tf.constant(images))
encoded = tf.stack([tf.io.encode_png(image) for image in images])
served = signatures["serving_default"](images=encoded)
answers = {f"detect_{name}": value.numpy() for name, value in found.items()}
np.savez(out, **answers, **{f"served_{name}": value.numpy() for name, value in served.items()})
"""


def test_runs_without_this_package(exported, tmp_path):
    images = np.stack([noise_image(97, 131), noise_image(97, 131, 1)])
    np.save(tmp_path / "images.npy", images)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", CLIENT, str(exported.saved_model_path), "images.npy", "found.npz"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    expected = {name: value.numpy() for name, value in exported.detector.detect(images).items()}
    with np.load(tmp_path / "found.npz") as found:
        assert expected["valid"].min() > 0
        for signature in ("detect", "served"):
            assert_same({name: found[f"{signature}_{name}"] for name in expected}, expected)


def test_serves_encoded_images_of_several_sizes(exported):
    serve = tf.saved_model.load(str(exported.saved_model_path)).signatures["serving_default"]
    images = [noise_image(97, 131), noise_image(40, 60, 1), noise_image(128, 50, 2)]
    encoded = [tf.io.encode_png(images[0]), tf.io.encode_jpeg(images[1], quality=90), tf.io.encode_png(images[2])]
    images[1] = tf.io.decode_jpeg(encoded[1], dct_method="INTEGER_ACCURATE").numpy()
    found = serve(images=tf.stack(encoded))
    for row, image in enumerate(images):
        expected = exported.detector.detect(image[None])
        assert_same(
            {name: value[row : row + 1].numpy() for name, value in found.items()},
            {name: value.numpy() for name, value in expected.items()},
        )


def test_compact_masks_are_those_of_serving_default(exported):
    signatures = tf.saved_model.load(str(exported.saved_model_path)).signatures
    images = [noise_image(97, 131), blank_image(60, 40), noise_image(40, 60, 1)]
    encoded = tf.stack([tf.io.encode_png(image) for image in images])
    expected = {name: value.numpy() for name, value in signatures["serving_default"](images=encoded).items()}
    assert expected["valid"].tolist()[1] == 0 < expected["valid"].max()
    found = {name: value.numpy() for name, value in signatures["serving_compact"](images=encoded).items()}
    columns = [Image.open(io.BytesIO(content)) for content in found.pop("masks_png_bytes")]
    assert [(column.format, column.mode, column.size) for column in columns] == [("PNG", "L", (28, 40 * 28))] * 3
    found["masks"] = np.stack([np.asarray(column).reshape(40, 28, 28) for column in columns])
    assert sorted(found) == sorted(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
        assert found[name].dtype == value.dtype


def test_compact_masks_of_nothing_cost_nothing(exported):
    serve = tf.saved_model.load(str(exported.saved_model_path)).signatures["serving_compact"]
    found = serve(images=tf.stack([tf.io.encode_png(blank_image(60, 40))]))
    assert found["valid"].numpy().tolist() == [0] and len(found["masks_png_bytes"].numpy()[0]) < 200
    assert serve(images=tf.constant([], tf.string))["masks_png_bytes"].shape == [0]


def test_jpegs_are_decoded_as_pillow_does(exported):
    serve = tf.saved_model.load(str(exported.saved_model_path)).signatures["serving_default"]
    file = io.BytesIO()
    Image.fromarray(noise_image(97, 131)).save(file, "JPEG", quality=75)
    found = {name: value.numpy() for name, value in serve(images=tf.constant([file.getvalue()])).items()}
    expected = exported.detector.detect(np.asarray(Image.open(file))[None])
    assert_same(found, {name: value.numpy() for name, value in expected.items()})


def test_padding_changes_nothing(exported):
    detect = tf.saved_model.load(str(exported.saved_model_path)).signatures["detect_padded"]
    images = [noise_image(97, 131), noise_image(40, 60, 1)]
    padded = np.full([2, 100, 140, 3], 77, np.uint8)
    for row, image in zip(padded, images):
        row[: image.shape[0], : image.shape[1]] = image
    found = detect(images=tf.constant(padded), sizes=tf.constant([image.shape[:2] for image in images]))
    for row, image in enumerate(images):
        expected = exported.detector.detect(image[None])
        assert_same(
            {name: value[row : row + 1].numpy() for name, value in found.items()},
            {name: value.numpy() for name, value in expected.items()},
        )


def test_serves_grey_and_transparent_images(exported):
    serve = tf.saved_model.load(str(exported.saved_model_path)).signatures["serving_default"]
    image = noise_image(40, 60)
    alpha = np.concatenate([image, np.full([40, 60, 1], 9, np.uint8)], axis=2)
    found = serve(
        images=tf.stack([tf.io.encode_png(alpha), tf.io.encode_png(image), tf.io.encode_png(image[:, :, :1])])
    )
    np.testing.assert_array_equal(found["boxes"][0], found["boxes"][1])
    assert found["valid"].shape == [3]


def test_signatures_and_assets(exported):
    loaded = tf.saved_model.load(str(exported.saved_model_path))
    assert sorted(loaded.signatures) == ["detect", "detect_padded", "serving_compact", "serving_default"]
    masks = {"masks": ("uint8", [None, 40, 28, 28])}
    for name, signature in loaded.signatures.items():
        outputs = {name: (spec.dtype.name, spec.shape.as_list()) for name, spec in signature.structured_outputs.items()}
        assert outputs == {
            "boxes": ("float32", [None, 40, 4]),
            "scores": ("float32", [None, 40]),
            "category_ids": ("int32", [None, 40]),
            "valid": ("int32", [None]),
            **({"masks_png_bytes": ("string", [None])} if name == "serving_compact" else masks),
        }
    assets = exported.saved_model_path / "assets"
    assert (assets / "class_names.txt").read_text("utf-8").split("\n") == ["car", "person", "dog", ""]
    description = json.loads((assets / "config.json").read_text("utf-8"))
    assert description["category_ids"] == [3, 7, 90]
    assert description["config"] == exported.detector.model.config.model_dump(mode="json")


@pytest.fixture
def fake_save(monkeypatch):
    """Saving takes seconds; these tests are about folders."""

    def save(model, path, precision, card):
        path.mkdir()
        (path / "saved_model.pb").write_bytes(b"graph")

    monkeypatch.setattr(saved_model, "_save", save)
    monkeypatch.setattr(saved_model, "model_card", lambda model, **facts: "")
    monkeypatch.setattr(saved_model, "write_warmup", lambda folder, requests, name: None)
    monkeypatch.setattr(saved_model, "usual_requests", lambda *sizes: [])


def test_versions_count_up(tmp_path, fake_save):
    folder = tmp_path / "saved_models" / "scenes"
    assert export_saved_model(ANY, folder) == folder / "1"
    assert export_saved_model(ANY, folder, version=9) == folder / "9"
    (folder / "notes").mkdir()
    assert export_saved_model(ANY, folder) == folder / "10"
    assert sorted(child.name for child in folder.iterdir()) == ["1", "10", "9", "notes"]


def test_refuses_versions(tmp_path, fake_save):
    export_saved_model(ANY, tmp_path)
    with pytest.raises(ExportError, match="1 exists: choose another version"):
        export_saved_model(ANY, tmp_path, version=1)
    for version in (0, -1, "2", 1.5, True):
        with pytest.raises(ExportError, match="is not a positive whole number"):
            export_saved_model(ANY, tmp_path, version=version)
    assert [child.name for child in tmp_path.iterdir()] == ["1"]


def test_refuses_an_unknown_precision(tmp_path, fake_save):
    with pytest.raises(ExportError, match="precision 'half' is not one of float32, bfloat16"):
        export_saved_model(ANY, tmp_path, precision="half")


def test_leaves_nothing_behind_when_it_fails(tmp_path, fake_save, monkeypatch):
    def fail(model, path, precision, card):
        path.mkdir()
        raise OSError("disk full")

    monkeypatch.setattr(saved_model, "_save", fail)
    with pytest.raises(OSError, match="disk full"):
        export_saved_model(ANY, tmp_path)
    assert list(tmp_path.iterdir()) == []
