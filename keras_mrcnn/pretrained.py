"""Published weights by name, with their origin, their terms and their scores."""

from __future__ import annotations

import dataclasses
import difflib
import os
from pathlib import Path
from typing import Any

from keras_mrcnn.base import downloads

TORCHVISION_FILES = "https://download.pytorch.org/models/"
TORCHVISION_PAGES = "https://docs.pytorch.org/vision/stable/models/generated/torchvision.models."
KERAS_FILES = "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
KERAS_PAGE = "https://keras.io/api/applications/"
# The publishers' own statements.
TERMS = {
    "torchvision": "torchvision's code is BSD-3-Clause. Of its pretrained models it says that they may have licences "
    "or terms of their own, derived from the data they were trained on, and that finding out whether you may use them "
    "is up to you: https://github.com/pytorch/vision#pre-trained-model-license",
    "Keras": "Keras' code is Apache-2.0. Its pages state no licence for these weights; those of Keras 2.0 said that "
    "its ResNet50 weights are ported from Kaiming He's, which are MIT: "
    "https://github.com/KaimingHe/deep-residual-networks",
    "Apache-2.0": "The licence of this package.",
}


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """Published weights.

    Attributes:
        name: under which the command line and the settings know them.
        kind: "model" for a whole Mask R-CNN, "backbone" for an ImageNet classifier.
        description: the network in a few words.
        classes: number of classes and their data set.
        megabytes: size of the file in millions of bytes.
        licence: its short form, a key of `TERMS`.
        source: page that states the scores.
        url: of the file; None where the file comes with the repository of this package.
        checksum: of the file, in the form that `downloads.fetch` takes; MD5 where the publisher gives nothing else.
        box_ap, mask_ap: average precision in percent, on COCO's val2017 or on the validation images of the quickstart.
        top1: accuracy on ImageNet in percent.
        norm_epsilon: of the batch norms; a state dict does not hold it.
    """

    name: str
    kind: str
    description: str
    classes: str
    megabytes: float
    licence: str
    source: str
    url: str | None = None
    checksum: str | None = None
    box_ap: float | None = None
    mask_ap: float | None = None
    top1: float | None = None
    norm_epsilon: float = 1e-5

    @property
    def file_name(self) -> str:
        """Returns the name of the file."""
        return self.url.rpartition("/")[2] if self.url else "demo.safetensors"

    @property
    def path(self) -> Path | None:
        """Returns the path of the file on this machine, or None where it is not there."""
        if self.url:
            return downloads.cached_file(self.file_name)
        path = Path(__file__).parents[1] / "saved_models" / self.file_name
        return path if path.is_file() else None

    def fetch(self) -> Path:
        """Returns the path of the file, downloaded if necessary and with a checked checksum.

        Raises:
            DownloadError: the file cannot be downloaded; the message says where to put it by hand.
        """
        if self.url:
            return downloads.fetch(self.url, self.file_name, self.checksum)
        if self.path is None:
            raise downloads.DownloadError(
                f"{self.name}: comes with a clone of the repository as saved_models/{self.file_name}, and this "
                "package does not lie in one; name that file of a clone instead"
            )
        return self.path


def _torchvision(function: str, file: str, sha256: str, **entries: Any) -> Pretrained:
    page = f"{TORCHVISION_PAGES}{function}.html"
    checksum = f"sha256:{sha256}"
    return Pretrained(
        licence="torchvision", source=page, url=TORCHVISION_FILES + file, checksum=checksum, **entries
    )


def _torchvision_model(name: str, file: str, sha256: str, **entries: Any) -> Pretrained:
    function = f"detection.{name.removesuffix('_coco')}"
    return _torchvision(function, file, sha256, name=name, kind="model", classes="80 of COCO", **entries)


def _torchvision_backbone(name: str, file: str, sha256: str, **entries: Any) -> Pretrained:
    function, kind = name.partition("_")[0], "backbone"
    return _torchvision(function, file, sha256, name=name, kind=kind, classes="1000 of ImageNet", **entries)


def _keras_backbone(name: str, md5: str, **entries: Any) -> Pretrained:
    file = f"{name.partition('_')[0]}_weights_tf_dim_ordering_tf_kernels_notop.h5"
    places = {"licence": "Keras", "source": KERAS_PAGE, "url": KERAS_FILES + file, "checksum": f"md5:{md5}"}
    return Pretrained(name=name, kind="backbone", classes="1000 of ImageNet", **places, **entries)


# The names of torchvision's files contain the first eight digits of their SHA-256. Keras publishes MD5 only.
_ALL = (
    _torchvision_model(
        "maskrcnn_resnet50_fpn_coco",
        "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth",
        "bf2d0c1efbc936eeee2bc95a48e80ebc86b891f61b0106485937fc29f9315fc0",
        description="Mask R-CNN, ResNet-50 FPN",
        megabytes=178.1,
        box_ap=37.9,
        mask_ap=34.6,
        norm_epsilon=0.0,  # torchvision sets it when it loads this file, and for no other
    ),
    _torchvision_model(
        "maskrcnn_resnet50_fpn_v2_coco",
        "maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth",
        "73cbd0190fcbe3ba339921fbce2c3a0b6bb9126c9a133c85e43a2a8e060a109e",
        description="Mask R-CNN v2, ResNet-50 FPN",
        megabytes=185.8,
        box_ap=47.4,
        mask_ap=41.8,
    ),
    Pretrained(
        name="scenes_demo",
        kind="model",
        description="Mask R-CNN, ResNet-18 FPN, small",
        classes="3 of drawn scenes",
        megabytes=9.1,
        licence="Apache-2.0",
        source="README.md, What the quickstart reaches",
        box_ap=63.2,
        mask_ap=51.6,
    ),
    _torchvision_backbone(
        "resnet18_imagenet",
        "resnet18-f37072fd.pth",
        "f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec",
        description="ResNet-18",
        megabytes=46.8,
        top1=69.758,
    ),
    _torchvision_backbone(
        "resnet34_imagenet",
        "resnet34-b627a593.pth",
        "b627a593bcbe140c234610266fe4f8ae95ea42fc881d091c9b6052e6b1d0590f",
        description="ResNet-34",
        megabytes=87.3,
        top1=73.314,
    ),
    _torchvision_backbone(
        "resnet50_imagenet",
        "resnet50-0676ba61.pth",
        "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a",
        description="ResNet-50, IMAGENET1K_V1",
        megabytes=102.5,
        top1=76.130,
    ),
    _torchvision_backbone(
        "resnet50_imagenet_v2",
        "resnet50-11ad3fa6.pth",
        "11ad3fa62ca79e40addfd354a8ec4b7c75143b3038b8d2a807fbc68deab379ca",
        description="ResNet-50, IMAGENET1K_V2",
        megabytes=102.5,
        top1=80.858,
    ),
    _torchvision_backbone(
        "resnet101_imagenet",
        "resnet101-63fe2227.pth",
        "63fe2227b86e8f1f2063f43a75c84d195911b6a0eace650907dd3dc62dd49a0a",
        description="ResNet-101, IMAGENET1K_V1",
        megabytes=178.8,
        top1=77.374,
    ),
    _keras_backbone(
        "resnet50_imagenet_keras",
        "4d473c1dd8becc155b73f8504c6f6626",
        description="ResNet-50, stride in 1x1",
        megabytes=94.8,
        top1=74.9,
    ),
    _keras_backbone(
        "resnet101_imagenet_keras",
        "88cf7a10940856eca736dc7b7e228a21",
        description="ResNet-101, stride in 1x1",
        megabytes=171.4,
        top1=76.4,
    ),
)
PRETRAINED: dict[str, Pretrained] = {pretrained.name: pretrained for pretrained in _ALL}


def weights_path(source: str | os.PathLike) -> Path:
    """Returns the path of a weight file or of published weights.

    A file or folder called like published weights takes precedence. Published weights are downloaded if necessary.

    Args:
        source: path of a file, or a key of `PRETRAINED`.

    Raises:
        FileNotFoundError: `source` is neither; the message lists the names.
        DownloadError: see `Pretrained.fetch`.

    Example:
        >>> weights_path("maskrcnn_resnet50_fpn_v2_coco")  # doctest: +SKIP
        PosixPath('/home/me/.keras/models/maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth')
    """
    published = find(source)
    if published is not None:
        return published.fetch()
    if not os.path.exists(source):
        raise FileNotFoundError(unknown(source))
    return Path(source)


def find(source: str | os.PathLike) -> Pretrained | None:
    """Returns the published weights of a name, or None if there are none or if a file or folder has that name."""
    return None if os.path.exists(source) else PRETRAINED.get(str(source))


def unknown(source: str | os.PathLike) -> str:
    """Returns the error message for a source of weights that is neither a file nor a name of published weights."""
    if Path(source).name != str(source) or Path(source).suffix:
        return f"{source}: no such file"
    close = difflib.get_close_matches(str(source), PRETRAINED, n=1)
    hint = f"did you mean {close[0]}? The" if close else "the"
    return f"{source}: no such file, nor published weights of that name; {hint} names are {', '.join(PRETRAINED)}"


def published_epsilon(path: str | os.PathLike) -> float:
    """Returns the epsilon of the batch norms in a state dict, which does not hold it itself.

    A published file is recognised by its SHA-256, or by a name that begins with the name of the published weights. For
    other files the epsilon is the default.
    """
    for record in PRETRAINED.values():
        # Only records that differ from the default are compared, because digests of large files take a while.
        if record.norm_epsilon != Pretrained.norm_epsilon and _is_file_of(record, path):
            return record.norm_epsilon
    return Pretrained.norm_epsilon


def _is_file_of(record: Pretrained, path: str | os.PathLike) -> bool:
    return Path(path).name.startswith(record.name) or downloads.has_checksum(path, record.checksum)
