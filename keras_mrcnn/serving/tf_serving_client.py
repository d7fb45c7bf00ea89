"""A client for the models that `export_saved_model` writes and TensorFlow Serving serves, by REST or gRPC."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from PIL import Image

from keras_mrcnn.base.image_files import Picture, read_image
from keras_mrcnn.base.records import Detections
from keras_mrcnn.base.silent_pillow import silent_pillow
from keras_mrcnn.serving.grpc_channel import GrpcModel
from keras_mrcnn.serving.rest import RestModel
from keras_mrcnn.serving.served_model import ModelSpec, ServingError, one_line

_PROTOCOLS = {"rest": RestModel, "grpc": GrpcModel}
# The server decodes these to the same pixels as Pillow. Other kinds are decoded here and sent as PNG.
_SENT_AS_IT_IS = {("JPEG", "RGB"), ("JPEG", "L"), ("PNG", "RGB"), ("PNG", "L"), ("PNG", "RGBA")}
_EXIF_ORIENTATION, _TURNED = 0x0112, range(2, 9)


class TFServingClient:
    """Sends images to a model on TensorFlow Serving and returns `Detections`.

    It calls the signature serving_compact, which sends masks as PNG. REST needs NumPy, Pillow and urllib3. gRPC needs
    the extra `serving` (grpcio, tensorflow-serving-api), which imports TensorFlow; its answers are a little smaller.
    Several threads may share a client. Close it, or use it in a `with` statement.

    Args:
        address: "host:port"; without a port it is 8501 for REST and 8500 for gRPC. REST takes URLs too.
        model: name of the model on the server, which is that of its folder in saved_models/.
        protocol: "rest" or "grpc".
        version: a version of the model; None for the newest.
        class_names: either a dict from category id to name, or the exported folder with the names, saved_models/NAME
            or saved_models/NAME/VERSION, because TensorFlow Serving does not send them. Without it the name of
            category 3 is "category 3".
        timeout: seconds to wait for an answer.

    Raises:
        ServingError: gRPC's packages are missing. Calls raise it when the server cannot be reached, does not know the
            model, takes too long, reports an error, or serves a model of another kind.
        ValueError: an argument is wrong, or the folder of the class names is not an exported model.

    Example:
        >>> with TFServingClient("localhost:8501", "scenes", class_names="saved_models/scenes") as client:
        ...     detections = client("street.jpg")
        ...     masks = detections.above(0.5).paste_masks()
    """

    def __init__(
        self,
        address: str,
        model: str,
        *,
        protocol: str = "rest",
        version: int | None = None,
        class_names: Mapping[int, str] | str | os.PathLike | None = None,
        timeout: float = 60.0,
    ):
        if protocol not in _PROTOCOLS:
            raise ValueError(f"protocol {protocol!r} is not known; take one of {', '.join(_PROTOCOLS)}")
        if not model or set(model) & set("/:"):
            raise ValueError(f"model {model!r} is not the name of a model; it has no slashes or colons")
        if version is not None and (isinstance(version, bool) or not isinstance(version, int) or version < 1):
            raise ValueError(f"version {version!r} is not a positive whole number, nor None for the newest")
        if isinstance(class_names, (str, os.PathLike)):
            class_names = _read_names(Path(class_names), version)
        self._names = class_names and {int(number): name for number, name in class_names.items()}
        self._spec = ModelSpec(address, model, version, timeout)
        self._model = _PROTOCOLS[protocol](self._spec)

    def __call__(self, image: Picture) -> Detections:
        """Detects objects in one image.

        Args:
            image: path of an image file; the bytes of one; uint8 array [H, W, 3], RGB; or a PIL image. JPEG and PNG
                files are sent unchanged, unless EXIF says to turn them; everything else is sent as PNG.

        Returns:
            `Detections` in pixels of the upright image, best first, with masks of 28 x 28; `paste_masks` returns them
            at the size of the image.

        Raises:
            ServingError: see the class.
            ImageError: the image is missing, damaged or of another kind; the message names it.
        """
        return self.batch([image])[0]

    def batch(self, images: Iterable[Picture], images_per_request: int = 8) -> list[Detections]:
        """Detects objects in images of any sizes.

        Args:
            images: each as `__call__` takes it.
            images_per_request: how many are sent at a time; a server that batches refuses more than its
                max_batch_size, which is 8 in scripts/serving/batching.config.

        Returns:
            A list of `Detections`, in the order of the images.

        Raises:
            ServingError, ImageError: as `__call__`.
        """
        if isinstance(images, (str, bytes, os.PathLike, Image.Image)) or getattr(images, "ndim", 4) != 4:
            raise ValueError("images is a single image, but batch takes a list; for one image call the client itself")
        if images_per_request < 1:
            raise ValueError(f"images_per_request is {images_per_request}, but a request has at least one image")
        images, detections = list(images), []
        for start in range(0, len(images), images_per_request):
            numbers = range(start, min(start + images_per_request, len(images)))
            encoded, sizes = zip(*(encode_image(images[number], f"images[{number}]") for number in numbers))
            detections += map(self._to_detections, self._model.predict(encoded), sizes)
        return detections

    def ready(self) -> bool:
        """Returns whether the server has loaded the model (that version, or any); False if it cannot be reached."""
        try:
            return "AVAILABLE" in self.status().values()
        except ServingError:
            return False

    def status(self) -> dict[int, str]:
        """Returns the state of each version that the server has: AVAILABLE, LOADING, or END with an error message.

        Raises:
            ServingError: the server cannot be reached or does not know the model.
        """
        return self._model.states()

    def close(self) -> None:
        """Closes the connections to the server."""
        self._model.close()

    def __enter__(self) -> TFServingClient:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _to_detections(self, outputs, image_size):
        category_ids = set(outputs["category_ids"][: outputs["valid"]].tolist())
        names = {number: f"category {number}" for number in category_ids} if self._names is None else self._names
        if category_ids - set(names):
            raise ServingError(
                f"{self._spec.title} at {self._spec.address} found category {min(category_ids - set(names))}, but "
                f"class_names has {sorted(names)}; give the class names of that model"
            )
        try:
            return Detections.from_outputs(outputs, names, image_size)
        except ValueError as error:
            raise self._spec.strange(f"has other shapes than our models give ({one_line(error)})") from error


def encode_image(image: Picture, name: str = "image") -> tuple[bytes, tuple[int, int]]:
    """Returns a JPEG or PNG file that the server decodes to the upright image.

    Args:
        image: as `TFServingClient` takes it.
        name: name in error messages of an image that has no path.

    Returns:
        The file, and (h, w) of the upright image.

    Raises:
        ImageError: the image is missing, damaged or of another kind.
    """
    content = image if isinstance(image, bytes) else None
    if isinstance(image, (str, os.PathLike)) and os.path.isfile(image):  # False for a name that no file can have
        content = Path(image).read_bytes()
    size = None if content is None else _size_if_sent_as_it_is(content)
    if size:
        return content, size
    pixels, file = read_image(image, name), io.BytesIO()
    # The fastest level: sending a slightly larger file takes less time than making it smaller.
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue(), pixels.shape[:2]


def _size_if_sent_as_it_is(content):
    """Returns (h, w) of a file that can be sent unchanged, else None."""
    try:
        with silent_pillow(), Image.open(io.BytesIO(content)) as image:
            is_turned = image.getexif().get(_EXIF_ORIENTATION) in _TURNED
            as_it_is = (image.format, image.mode) in _SENT_AS_IT_IS and not is_turned
            return (image.height, image.width) if as_it_is else None
    except Exception:  # reading the whole file raises an error with the reason
        return None


def _read_names(folder, version):
    """Reads the class name of each category id from the assets of an exported model."""
    if not (folder / "assets").is_dir():
        versions = [int(child.name) for child in folder.glob("*") if child.name.isdecimal()]
        folder = folder / str(version or max(versions, default=0))
    path = folder / "assets" / "config.json"
    try:
        description = json.loads(path.read_text("utf-8"))
        return dict(zip(description["category_ids"], description["class_names"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"class_names: {path} cannot be read as the description of an exported model ({error!r}); give "
            "saved_models/NAME, or a dict from category id to name"
        ) from error
