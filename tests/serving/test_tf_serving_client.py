"""The client against servers that run the exported model; see fake_servers.py for what is real about them."""

import io
import json
import socket
import threading

import numpy as np
import pytest
import tensorflow as tf
from export.models import blank_image, confident_model, noise_image
from PIL import Image
from serving.clients import PROTOCOLS, SERVERS, client_of, compact, error_of, png, quick, some_outputs
from serving.fake_servers import FakeModel, FakeServing, Refusal, json_answer, predict_response

from keras_mrcnn.base.image_files import ImageError
from keras_mrcnn.export.saved_model import export_saved_model
from keras_mrcnn.mask_rcnn.detector import Detector
from keras_mrcnn.serving.served_model import ServingError
from keras_mrcnn.serving.tf_serving_client import TFServingClient, encode_image

NAMES = {3: "car", 7: "person", 90: "dog"}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A detector, the folder of all versions of its SavedModel, and the SavedModel as the servers run it."""
    model, folder = confident_model(), tmp_path_factory.mktemp("models") / "small"
    path = export_saved_model(model, folder, version=4)
    return Detector(model), folder, FakeModel.of_folder(path)


def assert_same(found, expected):
    """Equal but for rounding: the exported model has its batch norms folded into the convolutions."""
    assert found.class_names == expected.class_names and found.image_size == expected.image_size
    np.testing.assert_array_equal(found.category_ids, expected.category_ids)
    np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=1e-4)
    np.testing.assert_allclose(found.boxes, expected.boxes, rtol=0, atol=0.05)
    np.testing.assert_allclose(found.masks, expected.masks, rtol=0, atol=1.01 / 255)


@pytest.mark.parametrize(("protocol", "as_tensor_content"), [("rest", True), ("grpc", True), ("grpc", False)])
def test_finds_what_the_detector_finds(exported, protocol, as_tensor_content):
    detector, folder, served = exported
    images = [noise_image(97, 131), blank_image(60, 40), noise_image(40, 60, 1)]
    expected = detector(images)
    assert len(expected[0]) > 2 and len(expected[1]) == 0
    with client_of(protocol, {"small": served}, as_tensor_content, class_names=folder) as client:
        found = client.batch(images, images_per_request=2)
        assert [len(record) for record in found] == [len(record) for record in expected]
        for record, wanted in zip(found, expected):
            assert_same(record, wanted)
        assert len(client.serving.requests) == 2
        assert (found[0].paste_masks() != expected[0].paste_masks()).mean() < 1e-3


@PROTOCOLS
def test_masks_are_those_of_serving_default(exported, protocol):
    images = [png(noise_image(97, 131)), png(blank_image(60, 40)), png(noise_image(40, 60, 1))]
    expected = exported[2].run("serving_default", np.array(images, object))
    with client_of(protocol, {"small": exported[2]}, class_names=NAMES) as client:
        found = client.batch(images)
    assert len(found[0]) > 2
    for row, record in enumerate(found):
        masks = expected["masks"][row, : expected["valid"][row]].astype(np.float32) / 255
        np.testing.assert_array_equal(record.masks, masks)
        np.testing.assert_array_equal(record.boxes, expected["boxes"][row, : len(record)])


def test_hundred_detections_are_at_most_100_kilobytes():
    outputs = {**some_outputs([b""], 100), "masks": soft_ellipses(100)[None]}
    assert len(json.dumps(json_answer(outputs))) > 300_000
    assert len(json.dumps(json_answer(compact(outputs)))) <= 100_000
    for as_tensor_content in (True, False):
        assert predict_response(compact(outputs), as_tensor_content).ByteSize() <= 100_000


def soft_ellipses(count):
    """Masks as a network gives them, uint8 [D, 28, 28]: turned ellipses, 255 inside, with edges a few cells wide."""
    random, (y, x) = np.random.default_rng(0), np.mgrid[:28, :28] - 13.5
    masks = []
    for _ in range(count):
        angle, (a, b) = random.uniform(0, np.pi), random.uniform(5, 14, 2)
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        logits = 8 * (1 - np.hypot(along / a, across / b)) + random.normal(0, 0.1, [28, 28])
        masks.append(255 / (1 + np.exp(-logits)))
    return np.round(masks).astype(np.uint8)


@PROTOCOLS
def test_takes_images_of_every_kind(exported, protocol, tmp_path):
    detector, _, served = exported
    image = noise_image(97, 131)
    expected = detector([image])[0]
    Image.fromarray(image).save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    Image.fromarray(np.rot90(image).copy()).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(image).save(tmp_path / "lossless.webp", lossless=True)
    paths = [tmp_path / "upright.png", str(tmp_path / "turned.png"), tmp_path / "lossless.webp"]
    kinds = [*paths, paths[0].read_bytes(), paths[2].read_bytes(), image, Image.fromarray(image)]
    with client_of(protocol, {"small": served}, class_names=NAMES, version=4) as client:
        for found in client.batch(kinds):
            assert_same(found, expected)
        assert_same(client(image), expected)


def test_a_jpeg_goes_to_the_server_as_it_is(exported, tmp_path):
    detector, _, served = exported
    path = tmp_path / "photograph.jpg"
    Image.fromarray(noise_image(97, 131)).save(path, quality=90)
    with client_of("rest", {"small": served}, class_names=NAMES) as client:
        found = client(path)
    assert_same(found, detector([np.asarray(Image.open(path))])[0])
    assert encode_image(path) == (path.read_bytes(), (97, 131))


def test_other_files_are_sent_as_upright_png():
    image = noise_image(20, 30)
    grey = Image.fromarray(image).convert("L")
    assert encode_image(png(image)) == (png(image), (20, 30))
    assert encode_image(png(np.asarray(grey)))[0] == png(np.asarray(grey))
    exif = Image.Exif()
    for orientation, size in ((1, (20, 30)), (3, (20, 30)), (8, (30, 20)), (99, (20, 30))):
        exif[0x0112] = orientation
        content, found_size = encode_image(png(image, exif=exif))
        assert found_size == size
        assert (content == png(image, exif=exif)) == (orientation in (1, 99))
        assert tuple(tf.io.decode_image(content).shape[:2]) == size
    for other in (Image.fromarray(image).convert("CMYK"), Image.fromarray(image).convert("P"), grey.convert("I;16")):
        file = io.BytesIO()
        other.save(file, "TIFF")
        assert tf.io.decode_image(encode_image(file.getvalue())[0]).shape == (20, 30, 3)


def test_names_the_image_that_it_cannot_use(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    with client_of("rest", quick()) as client:
        for images, message in (
            ([tmp_path / "gone.png"], "gone.png does not exist"),
            ([tmp_path / "text.png"], "text.png is not an image"),
            ([noise_image(5, 5), b"no picture"], r"images\[1\] is not an image"),
            ([noise_image(5, 5).astype(np.float32)], r"images\[0\] is float32"),
        ):
            with pytest.raises(ImageError, match=message):
                client.batch(images)
        for image in ("street.jpg", b"", noise_image(5, 5), Image.fromarray(noise_image(5, 5))):
            with pytest.raises(ValueError, match="images is a single image"):
                client.batch(image)
        with pytest.raises(ValueError, match="images_per_request is 0"):
            client.batch([], images_per_request=0)
        assert client.batch([]) == [] and client.serving.requests == []


@PROTOCOLS
def test_without_names_a_class_is_called_by_its_category(protocol):
    with client_of(protocol, quick()) as client:
        assert client(noise_image(5, 5)).class_names == ("category 3", "category 3")
    with client_of(protocol, quick(), class_names={"3": "car"}) as client:
        assert client(noise_image(5, 5)).class_names == ("car", "car")
    error = error_of(protocol, quick(), class_names={4: "cat"})
    assert "found category 3, but class_names has [4]; give the class names of that model" in error


def test_names_of_an_exported_folder(tmp_path):
    def names(folder, version=None):
        with TFServingClient("localhost", "small", class_names=folder, version=version) as client:
            return client._names

    for version, name in ((2, "cat"), (10, "dog")):
        (tmp_path / "small" / str(version) / "assets").mkdir(parents=True)
        description = {"class_names": [name], "category_ids": [18]}
        (tmp_path / "small" / str(version) / "assets" / "config.json").write_text(json.dumps(description))
    assert names(tmp_path / "small") == {18: "dog"}
    assert names(str(tmp_path / "small"), version=2) == {18: "cat"}
    assert names(tmp_path / "small" / "2") == {18: "cat"}
    with pytest.raises(ValueError, match="class_names: .*small.3.assets.config.json cannot be read"):
        names(tmp_path / "small", version=3)
    with pytest.raises(ValueError, match="cannot be read"):
        names(tmp_path / "nowhere")


@PROTOCOLS
def test_state_of_a_model(protocol):
    states = {1: "END", 2: "AVAILABLE", 3: "LOADING"}
    with client_of(protocol, quick(states=states)) as client:
        assert client.status() == states and client.ready()
    for version, is_ready in ((1, False), (2, True), (3, False), (4, False)):
        with client_of(protocol, quick(states=states), version=version) as client:
            assert client.ready() is is_ready
    with client_of(protocol, quick(states={1: "END"}, message="no op\nNewOp")) as client:
        assert client.status() == {1: "END: no op NewOp"} and not client.ready()
    with client_of(protocol, quick(), model="other") as client:
        assert not client.ready()
        with pytest.raises(ServingError, match="has no model 'other'.*any versions of model other"):
            client.status()


@PROTOCOLS
def test_a_model_that_the_server_does_not_have(protocol):
    error = error_of(protocol, quick(), model="other")
    assert "has no model 'other' (" in error and "Servable not found for request: Latest(other)" in error
    error = error_of(protocol, quick(), version=8)
    assert "has no model 'small' version 8 (" in error and "Specific(small, 8)" in error


@PROTOCOLS
def test_a_server_that_is_not_there(protocol):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        with TFServingClient(address, "small", protocol=protocol) as client:
            assert not client.ready()
            with pytest.raises(ServingError, match=f"does not answer at {address} .*REST is usually on port 8501"):
                client(noise_image(5, 5))


@PROTOCOLS
def test_the_server_of_the_other_protocol(protocol):
    (other,) = set(SERVERS) - {protocol}
    with (
        SERVERS[other](FakeServing(quick())) as address,
        TFServingClient(address, "small", protocol=protocol, timeout=5) as client,
        pytest.raises(ServingError, match="does not answer at"),
    ):
        client(noise_image(5, 5))


@PROTOCOLS
def test_a_server_that_takes_too_long(protocol):
    done = threading.Event()

    def wait(images):
        done.wait(20)
        return some_outputs(images)

    with client_of(protocol, quick(wait), timeout=0.3) as client:
        with pytest.raises(ServingError, match=r"did not answer within 0\.3 s"):
            client(noise_image(5, 5))
        done.set()


@PROTOCOLS
def test_what_the_server_says_is_passed_on(exported, protocol):
    file = io.BytesIO()
    Image.fromarray(noise_image(97, 131)).save(file, "JPEG")
    damaged = file.getvalue()[:800]  # the header is whole
    error = error_of(protocol, {"small": exported[2]}, [damaged], class_names=NAMES)
    assert "refuses to run model 'small': " in error and "JPEG" in error

    def full(images):
        raise Refusal("UNAVAILABLE", "The batch scheduling queue to which this task was submitted is full")

    error = error_of(protocol, quick(full))
    assert "refuses to run model 'small': " in error and "this task was submitted is full" in error
    error = error_of(protocol, {"small": FakeModel({"serving_default": some_outputs}, {1: "AVAILABLE"})})
    assert 'name: "serving_compact" not found in signature def; export the model again with this version' in error


@PROTOCOLS
def test_the_answer_of_another_model(protocol):
    def without(*names):
        return lambda images: {name: value for name, value in some_outputs(images).items() if name not in names}

    def one_row(images):
        return some_outputs(images[:1])

    def small_boxes(images):
        return {**some_outputs(images), "boxes": np.zeros([len(images), 3, 2], np.float32)}

    def error(run):
        return error_of(protocol, quick(run), [noise_image(5, 5)] * 2)

    named = "has the outputs boxes, category_ids, scores, but not valid, masks_png_bytes; serve a folder"
    assert named in error(without("masks", "valid"))
    assert "but not boxes" in error(without("boxes", "scores", "category_ids", "valid"))
    assert "has outputs of the shapes boxes [1, 3, 4]" in error(one_row)
    assert "has other shapes than our models give (Detections.boxes" in error(small_boxes)


def broken(content, place):
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


WHOLE = png(np.zeros([84, 28], np.uint8))


@PROTOCOLS
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "hold no PNG file, or a damaged one"),
        (b"no picture", "hold no PNG file, or a damaged one"),
        (WHOLE[:-20], "hold no PNG file, or a damaged one"),
        (broken(WHOLE, WHOLE.index(b"IDAT") + 9), "hold no PNG file, or a damaged one"),
        (png(np.zeros([83, 28], np.uint8)), "of mode L and 83 x 28 pixels, which are not 3 masks"),
        (png(np.zeros([28, 28], np.uint8)), "of mode L and 28 x 28 pixels, which are not 3 masks"),
        (png(np.zeros([84, 27], np.uint8)), "of mode L and 84 x 27 pixels"),
        (png(np.zeros([84, 28, 3], np.uint8)), "of mode RGB and 84 x 28 pixels"),
        (png(np.zeros([84, 28], np.uint16)), "of mode I;16 and 84 x 28 pixels"),
    ],
    ids=["empty", "text", "torn", "bit", "low", "one", "narrow", "colour", "deep"],
)
def test_masks_that_cannot_be_read(protocol, content, message):
    def run(images):
        return {**compact(some_outputs(images)), "masks_png_bytes": np.array([content] * len(images), object)}

    error = error_of(protocol, {"small": FakeModel({"serving_compact": run}, {1: "AVAILABLE"})})
    assert message in error and error.endswith("serve a folder that `keras-mrcnn export` wrote")


def test_refuses_arguments():
    for arguments, message in (
        ({"protocol": "soap"}, "protocol 'soap' is not known; take one of rest, grpc"),
        ({"model": ""}, "model '' is not the name of a model"),
        ({"model": "a/b"}, "model 'a/b' is not the name"),
        ({"version": 0}, "version 0 is not a positive whole number"),
        ({"version": "1"}, "version '1' is not"),
        ({"version": True}, "version True is not"),
    ):
        with pytest.raises(ValueError, match=message):
            TFServingClient("localhost", **{"model": "small", **arguments})
