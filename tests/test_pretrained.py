"""Published weights: the table against its sources, names and paths, and what a name downloads."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib.util
from pathlib import Path

import pytest
from file_server import publishing

from keras_mrcnn import pretrained
from keras_mrcnn.base.downloads import DownloadError
from keras_mrcnn.pretrained import PRETRAINED, TERMS, Pretrained, find, published_epsilon, unknown, weights_path

# The names that torchvision has for the same weights.
TORCHVISION = {
    "maskrcnn_resnet50_fpn_coco": "MaskRCNN_ResNet50_FPN_Weights.COCO_V1",
    "maskrcnn_resnet50_fpn_v2_coco": "MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1",
    "resnet18_imagenet": "ResNet18_Weights.IMAGENET1K_V1",
    "resnet34_imagenet": "ResNet34_Weights.IMAGENET1K_V1",
    "resnet50_imagenet": "ResNet50_Weights.IMAGENET1K_V1",
    "resnet50_imagenet_v2": "ResNet50_Weights.IMAGENET1K_V2",
    "resnet101_imagenet": "ResNet101_Weights.IMAGENET1K_V1",
}
KERAS = {"resnet50_imagenet_keras": "resnet50", "resnet101_imagenet_keras": "resnet101"}


@pytest.mark.parametrize("published", PRETRAINED.values(), ids=lambda published: published.name)
def test_every_record_is_complete(published):
    assert published.kind in ("model", "backbone") and published.licence in TERMS
    scores = (published.box_ap, published.mask_ap, published.top1)
    assert [score is None for score in scores] == [published.kind == "backbone"] * 2 + [published.kind == "model"]
    if published.url:
        algorithm, _, digest = published.checksum.partition(":")
        assert len(digest) == {"sha256": 64, "md5": 32}[algorithm] and int(digest, 16)
        assert published.source.startswith("https://")
    assert published.norm_epsilon == (0 if published.name == "maskrcnn_resnet50_fpn_coco" else 1e-5)


@pytest.mark.parametrize("name", TORCHVISION)
def test_checksums_begin_as_the_names_of_torchvisions_files_end(name):
    prefix = PRETRAINED[name].file_name.rpartition("-")[2].removesuffix(".pth")
    assert len(prefix) == 8 and PRETRAINED[name].checksum.startswith(f"sha256:{prefix}")


@pytest.mark.torchvision
@pytest.mark.parametrize(("name", "theirs"), TORCHVISION.items())
def test_records_are_torchvisions(name, theirs):
    weights, ours = pytest.importorskip("torchvision").models.get_weight(theirs), PRETRAINED[name]
    assert ours.url == weights.url
    metrics = {key: value for scores in weights.meta["_metrics"].values() for key, value in scores.items()}
    assert (ours.box_ap, ours.mask_ap, ours.top1) == tuple(map(metrics.get, ("box_map", "mask_map", "acc@1")))
    assert ours.megabytes == pytest.approx(weights.meta["_file_size"] * 1.048576, abs=0.1)


@pytest.mark.parametrize(("name", "theirs"), KERAS.items())
def test_records_are_those_of_keras(name, theirs):
    keras = Path(importlib.util.find_spec("keras").origin).parent  # read, for the import takes seconds
    constants = {}
    for node in ast.parse((keras / "src" / "applications" / "resnet.py").read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("BASE_WEIGHTS_PATH", "WEIGHTS_HASHES"):
            constants[ast.unparse(node.targets[0])] = ast.literal_eval(node.value)
    assert PRETRAINED[name].checksum == f"md5:{constants['WEIGHTS_HASHES'][theirs][1]}"
    file = f"{theirs}_weights_tf_dim_ordering_tf_kernels_notop.h5"
    assert PRETRAINED[name].url == constants["BASE_WEIGHTS_PATH"] + file and PRETRAINED[name].file_name == file


def test_the_demo_lies_in_the_repository(tmp_path, monkeypatch):
    path = weights_path("scenes_demo")
    assert path == Path(__file__).resolve().parents[1] / "saved_models" / "demo.safetensors"
    assert PRETRAINED["scenes_demo"].megabytes == pytest.approx(path.stat().st_size / 1e6, abs=0.1)
    monkeypatch.setattr(pretrained, "__file__", str(tmp_path / "keras_mrcnn" / "pretrained.py"))
    assert PRETRAINED["scenes_demo"].path is None
    with pytest.raises(DownloadError, match=r"scenes_demo: comes with a clone .* as saved_models/demo.safetensors"):
        weights_path("scenes_demo")


def test_a_name_is_downloaded(tmp_path, monkeypatch):
    (tmp_path / "weights.pth").write_bytes(b"weights")
    with publishing("resnet18_imagenet", tmp_path / "weights.pth", monkeypatch, tmp_path) as server:
        assert PRETRAINED["resnet18_imagenet"].path is None
        path = weights_path("resnet18_imagenet")
        assert path == tmp_path / "models" / "resnet18_imagenet-12345678.pth" == PRETRAINED["resnet18_imagenet"].path
        assert weights_path(Path("resnet18_imagenet")).read_bytes() == b"weights"
        assert len(server.requests) == 1


def test_files_come_before_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("resnet18_imagenet").write_bytes(b"mine")
    assert weights_path("resnet18_imagenet") == Path("resnet18_imagenet") and find("resnet18_imagenet") is None
    assert find("resnet34_imagenet") is PRETRAINED["resnet34_imagenet"] and find("resnet") is None


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("runs/mine", "runs/mine: no such file"),
        ("model.pth", "model.pth: no such file"),
        ("maskrcnn_resnet50_coco", "; did you mean maskrcnn_resnet50_fpn_coco? The names are maskrcnn_"),
        ("zebra", "zebra: no such file, nor published weights of that name; the names are maskrcnn_resnet50_"),
    ],
)
def test_what_is_neither(source, sentence):
    assert sentence in unknown(source)
    with pytest.raises(FileNotFoundError) as caught:
        weights_path(source)
    assert str(caught.value) == unknown(source)


def test_epsilon_of_published_files(tmp_path, monkeypatch):
    path = tmp_path / "model.pth"
    path.write_bytes(b"weights")
    assert published_epsilon(path) == Pretrained.norm_epsilon == 1e-5
    checksum = f"sha256:{hashlib.sha256(b'weights').hexdigest()}"
    name = "maskrcnn_resnet50_fpn_coco"
    monkeypatch.setitem(PRETRAINED, name, dataclasses.replace(PRETRAINED[name], checksum=checksum))
    assert published_epsilon(path) == 0
