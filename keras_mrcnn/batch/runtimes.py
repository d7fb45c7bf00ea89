"""What finds the objects: a Keras model, a SavedModel or an ONNX file, behind one function.

Shapes: B pictures of one size, H W C of the pictures.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Optional, Union

import numpy as np

from keras_mrcnn.base.downloads import digest
from keras_mrcnn.base.errors import UserError
from keras_mrcnn.base.records import Detections

RUNTIMES = ("keras", "savedmodel", "onnx")
ONNX_SUFFIX = ".onnx"
GRAPH = "saved_model.pb"  # every SavedModel has this file
UNUSED = "assets.extra"  # folder of a SavedModel with requests that warm a server up

PathLike = Union[str, os.PathLike]


class Source(NamedTuple):
    """A model that the user has named, before it is loaded.

    Args:
        path: weight file, folder of a SavedModel, or ONNX file.
        kind: what it is, one of `RUNTIMES`; "keras" for weights.
        runtime: what runs it, one of `RUNTIMES`.
    """

    path: Path
    kind: str
    runtime: str

    def sha256(self) -> str:
        """Returns a hash of the file, or of all files that make the SavedModel."""
        if self.path.is_file():
            return digest(self.path)
        files = {path.relative_to(self.path).as_posix(): digest(path) for path in _files(self.path)}
        return hashlib.sha256(json.dumps(files).encode()).hexdigest()


class Runtime(NamedTuple):
    """A loaded model.

    Args:
        class_names: names of the classes.
        category_ids: their (COCO) category ids, in the same order.
        channels: channels of the pictures, C.
        detect: finds the objects in pictures of one size, uint8 [B, H, W, C]; returns the `Detections` of each.
    """

    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    channels: int
    detect: Callable[[np.ndarray], list[Detections]]


def find_source(weights: PathLike, runtime: Optional[str] = None) -> Source:
    """Says what a model is, and what runs it.

    Args:
        weights: weight file, run folder or published name; folder of a SavedModel, or of its versions, of which the
            newest counts; or ONNX file.
        runtime: one of `RUNTIMES`; by default the one that runs what was named as it is, which no other is faster at.

    Raises:
        UserError: the runtime cannot run it.
    """
    path = Path(weights)
    if path.suffix == ONNX_SUFFIX:
        kind = "onnx"
    elif (saved := _saved_model(path)) is not None:
        path, kind = saved, "savedmodel"
    else:
        path, kind = _weights_file(path), "keras"
    runtime = runtime or kind
    if runtime not in RUNTIMES:
        raise UserError(f"there is no runtime {runtime}; choose one of {', '.join(RUNTIMES)}")
    if kind not in ("keras", runtime):
        raise UserError(f"{weights} cannot run on {runtime}; leave --runtime out, or name the weights it was made from")
    return Source(path, kind, runtime)


def open_runtime(source: Source) -> Runtime:
    """Loads a model. Weights that are to run as SavedModel or on ONNX Runtime are exported first, for this time alone.

    Raises:
        UserError: the file is no model, or a package is missing.
    """
    if source.kind == source.runtime:
        return _OPENERS[source.runtime](source.path)
    from keras_mrcnn.export.onnx import export_onnx
    from keras_mrcnn.export.saved_model import export_saved_model
    from keras_mrcnn.mask_rcnn.model import MaskRCNN

    with tempfile.TemporaryDirectory() as folder:
        model = MaskRCNN.from_preset(source.path)
        if source.runtime == "onnx":
            path = Path(folder, "model.onnx")
            export_onnx(model, path)
        else:
            path = export_saved_model(model, Path(folder, "model"))
        return _OPENERS[source.runtime](path)


def _open_keras(path: Path) -> Runtime:
    from keras_mrcnn.mask_rcnn.model import MaskRCNN

    detector = MaskRCNN.from_preset(path).detector

    def detect(pictures: np.ndarray) -> list[Detections]:
        return list(detector.stream(pictures, len(pictures)))

    return Runtime(detector.class_names, detector.category_ids, detector.channels, detect)


def _open_saved_model(path: Path) -> Runtime:
    import tensorflow as tf

    try:
        description = json.loads((path / "assets" / "config.json").read_text("utf-8"))
        loaded = tf.saved_model.load(str(path))
        signature = loaded.signatures["detect"]
        class_names, category_ids = tuple(description["class_names"]), tuple(description["category_ids"])
        channels = signature.structured_input_signature[1]["images"].shape[3]
    except (OSError, ValueError, KeyError, TypeError, tf.errors.OpError) as error:
        reason = " ".join(str(error).split())[:200]
        message = f"{path} is not a SavedModel that `keras-mrcnn export` wrote ({reason}); export it again"
        raise UserError(message) from None
    names = dict(zip(category_ids, class_names))

    def detect(pictures: np.ndarray, keeps: object = loaded) -> list[Detections]:  # the signature keeps no variables
        outputs = {name: value.numpy() for name, value in signature(images=tf.constant(pictures)).items()}
        rows = ({name: value[row] for name, value in outputs.items()} for row in range(len(pictures)))
        return [Detections.from_outputs(arrays, names, pictures.shape[1:3]) for arrays in rows]

    return Runtime(class_names, category_ids, channels, detect)


def _open_onnx(path: Path) -> Runtime:
    from keras_mrcnn.serving.onnx_predictor import OnnxPredictor

    predictor = OnnxPredictor(path)

    def detect(pictures: np.ndarray) -> list[Detections]:
        return predictor.batch(pictures, len(pictures))

    return Runtime(predictor.class_names, predictor.category_ids, predictor.channels, detect)


_OPENERS = {"keras": _open_keras, "savedmodel": _open_saved_model, "onnx": _open_onnx}


def _saved_model(folder: Path) -> Optional[Path]:
    """Returns the folder of a SavedModel, or that of the newest version in it; None if there is none."""
    if (folder / GRAPH).is_file():
        return folder
    versions = [int(child.name) for child in folder.glob("*") if child.name.isdecimal() and (child / GRAPH).is_file()]
    return folder / str(max(versions)) if versions else None


def _weights_file(path: Path) -> Path:
    """Returns the weight file of a run folder, the downloaded file of published weights, or the file itself."""
    from keras_mrcnn import pretrained
    from keras_mrcnn.mask_rcnn.presets import finished_model

    return pretrained.weights_path(finished_model(path))


def _files(path: Path) -> Iterator[Path]:
    """Gives the files of a SavedModel that decide about its detections, in order."""
    for file in sorted(path.rglob("*")):
        if file.is_file() and UNUSED not in file.relative_to(path).parts:
            yield file
