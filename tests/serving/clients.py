"""Clients of fake servers, and models for these that are made in no time."""

import contextlib
import io

import numpy as np
import pytest
from export.models import noise_image
from PIL import Image
from serving.fake_servers import FakeModel, FakeServing, grpc_server, rest_server

from keras_mrcnn.serving.served_model import ServingError
from keras_mrcnn.serving.tf_serving_client import TFServingClient

SERVERS = {"rest": rest_server, "grpc": grpc_server}
PROTOCOLS = pytest.mark.parametrize("protocol", sorted(SERVERS))


@contextlib.contextmanager
def client_of(protocol, models, as_tensor_content=True, model="small", **options):
    serving = FakeServing(models, as_tensor_content)
    with (
        SERVERS[protocol](serving) as address,
        TFServingClient(address, model, protocol=protocol, **options) as client,
    ):
        client.serving = serving
        yield client


def error_of(protocol, models, images=None, **options):
    """The sentence with which a batch, by default of one image, fails."""
    with client_of(protocol, models, **options) as client, pytest.raises(ServingError) as caught:
        client.batch(images or [noise_image(5, 5)])
    assert "\n" not in str(caught.value)
    return str(caught.value)


def some_outputs(images, count=2):
    """What serving_default of a model with three rows gives: `count` detections of category 3 with random masks."""
    random, rows = np.random.default_rng(0), max(count, 3)
    scores = np.where(np.arange(rows) < count, np.linspace(0.9, 0.1, rows), 0).astype(np.float32)
    outputs = {
        "boxes": random.uniform(0, 1000, [rows, 4]).astype(np.float32),
        "scores": scores,
        "category_ids": np.where(np.arange(rows) < count, 3, 0).astype(np.int32),
        "valid": np.int32(count),
        "masks": random.integers(0, 256, [rows, 28, 28], np.uint8),
    }
    return {name: np.stack([value] * len(images)) for name, value in outputs.items()}


def compact(outputs):
    """The same answer as serving_compact gives it; one that has no masks stays so."""
    others = {name: value for name, value in outputs.items() if name != "masks"}
    files = [png(masks.reshape(-1, masks.shape[-1])) for masks in outputs.get("masks", [])]
    return {**others, "masks_png_bytes": np.array(files, object)} if files else others


def quick(run=some_outputs, **options):
    """The models of a server that has one; `run` gives what serving_default would."""
    signatures = {"serving_compact": lambda images: compact(run(images))}
    return {"small": FakeModel(signatures, **{"states": {1: "AVAILABLE"}, **options})}


def png(image, **options):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", **options)
    return file.getvalue()
