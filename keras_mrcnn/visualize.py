"""Draws detections, ground truth and proposals into pictures; returns arrays, shows and saves nothing.

Colours are those of Okabe and Ito, which colour-blind people can tell apart. Lines and letters grow with
the image, and labels are moved, and if need be shortened, until they stand inside it.

Shape letters: H W the image's height and width, D objects, P proposals.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from skimage.measure import find_contours

from keras_mrcnn.structures import Detections, GroundTruth, MaskPatch

Colour = tuple[int, int, int]
Rectangle = tuple[int, int, int, int]  # left, top, right, bottom; the last two are outside
# Okabe and Ito, "Color Universal Design" (2008), without black; neighbours differ most.
PALETTE: tuple[Colour, ...] = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167),
)  # fmt: skip
MASK_OPACITY = 0.4
SMALLEST_LETTERS = 11  # pixels; below this, letters cannot be read


def draw_detections(
    image: np.ndarray,
    detections: Detections,
    min_score: float = 0.5,
    colour_by: str = "class",
    class_names: Sequence[str] | None = None,
) -> np.ndarray:
    """Draws masks, contours, boxes and labels like "name 0.87".

    Args:
        image: uint8 [H, W, 3] or [H, W], the original image.
        detections: what was found in it.
        min_score: detections below this are left out.
        colour_by: "class", or "instance" to tell neighbours of one class apart.
        class_names: all classes in order, to give each its colour; by default the category ids decide.

    Returns:
        uint8 [H, W, 3], a new picture.

    Raises:
        ValueError: the image is not uint8, or not of the size that the detections belong to.

    Example:
        >>> picture = draw_detections(np.zeros((60, 80, 3), np.uint8), Detections.empty((60, 80)))
        >>> picture.shape
        (60, 80, 3)
    """
    kept = detections.above(min_score)
    kept = kept[np.argsort(-kept.scores, kind="stable")]
    colours = _choose_colours(kept.category_ids, kept.class_names, colour_by, class_names)
    labels = [f"{name} {score:.2f}" for name, score in zip(kept.class_names, kept.scores)]
    patches = None if kept.masks is None else list(kept.mask_patches(threshold=None))
    return _draw_objects(_checked_image(image, detections.image_size), kept.boxes, patches, colours, labels)


def draw_ground_truth(
    image: np.ndarray,
    ground_truth: GroundTruth,
    colour_by: str = "class",
    class_names: Sequence[str] | None = None,
) -> np.ndarray:
    """Draws the annotated objects as `draw_detections` draws what was found, labelled with their names.

    Args:
        image: uint8 [H, W, 3] or [H, W].
        ground_truth: its objects.
        colour_by: "class" or "instance".
        class_names: all classes in order, to give each its colour; by default the labels decide.

    Returns:
        uint8 [H, W, 3], a new picture.

    Raises:
        ValueError: the image is not uint8, or not of the size that the objects belong to.
    """
    colours = _choose_colours(ground_truth.labels, ground_truth.class_names, colour_by, class_names)
    patches = None if ground_truth.masks is None else list(ground_truth.mask_patches())
    checked = _checked_image(image, ground_truth.image_size)
    return _draw_objects(checked, ground_truth.boxes, patches, colours, ground_truth.class_names)


def draw_proposals(image: np.ndarray, boxes: np.ndarray, scores: np.ndarray | None = None, top: int = 20) -> np.ndarray:
    """Draws the best proposals as boxes, from yellow (best) to dark blue; the best lie on top.

    Args:
        image: uint8 [H, W, 3] or [H, W].
        boxes: float [P, 4], xyxy pixels of this image.
        scores: float [P]; by default the boxes are taken as sorted, best first.
        top: how many to draw.

    Returns:
        uint8 [H, W, 3], a new picture.

    Raises:
        ValueError: the image is not uint8, or scores and boxes differ in number.
    """
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    scores = -np.arange(len(boxes)) if scores is None else np.asarray(scores)
    if scores.shape != (len(boxes),):
        raise ValueError(f"scores have shape {list(scores.shape)} for {len(boxes)} boxes; give one score a box.")
    best = np.argsort(-scores, kind="stable")[:top]
    picture = Image.fromarray(_checked_image(image, None))
    draw = ImageDraw.Draw(picture)
    shades = matplotlib.colormaps["viridis"](np.linspace(1.0, 0.15, max(len(best), 1)), bytes=True)
    for rank in range(len(best) - 1, -1, -1):
        _draw_box(draw, boxes[best[rank]], tuple(shades[rank, :3].tolist()), _line_width(picture.size))
    return np.array(picture)


def contact_sheet(images: Iterable[np.ndarray], columns: int, cell_size: tuple[int, int] | None = None) -> np.ndarray:
    """Sets pictures of any sizes into rows, each shrunk to fit its cell and centred there, on white.

    Args:
        images: uint8 [H, W, 3] or [H, W] each, at least one.
        columns: pictures in a row.
        cell_size: (height, width) in pixels; by default the largest height and width, but at most 640.

    Returns:
        uint8 [H, W, 3].

    Raises:
        ValueError: there are no images, or `columns` is below 1.
    """
    pictures = [Image.fromarray(_checked_image(image, None)) for image in images]
    if not pictures or columns < 1:
        raise ValueError(f"A contact sheet of {len(pictures)} images in {columns} columns cannot be; give 1 or more.")
    if cell_size is None:
        cell_size = tuple(min(640, max(picture.size[axis] for picture in pictures)) for axis in (1, 0))
    height, width = cell_size
    gap = max(4, width // 60)
    columns = min(columns, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    sheet = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + gap) + gap), "white")
    for number, picture in enumerate(pictures):
        picture.thumbnail((width, height))  # never enlarges
        row, column = divmod(number, columns)
        x = gap + column * (width + gap) + (width - picture.width) // 2
        y = gap + row * (height + gap) + (height - picture.height) // 2
        sheet.paste(picture, (x, y))
    return np.array(sheet)


def _draw_objects(
    image: np.ndarray,
    boxes: np.ndarray,
    patches: list[MaskPatch] | None,
    colours: Sequence[Colour],
    labels: Sequence[str],
) -> np.ndarray:
    """Draws small objects on top of large ones, and all labels, those of the first objects on top, above all."""
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    order = np.argsort(-sides.prod(axis=1), kind="stable").tolist()
    for number in order if patches is not None else ():
        _blend_mask(image, patches[number], colours[number])
    picture = Image.fromarray(image)
    draw = ImageDraw.Draw(picture)
    line_width = _line_width(picture.size)
    for number in order:
        _draw_box(draw, boxes[number], colours[number], line_width)
        if patches is not None:
            _draw_contours(draw, patches[number], colours[number], line_width)
    font = _font(max(SMALLEST_LETTERS, round(0.024 * math.sqrt(picture.width * picture.height))))
    texts, places = [], []
    for box, label in zip(boxes, labels):
        texts.append(_shorten(label, font, picture.width - 2 * _margin(font)))
        places.append(_place_label(box, _label_size(texts[-1], font), picture.size, places))
    for number in range(len(texts) - 1, -1, -1):
        _draw_label(draw, places[number], colours[number], texts[number], font)
    return np.array(picture)


def _blend_mask(image: np.ndarray, mask_window: MaskPatch, colour: Colour) -> None:
    """Tints the pixels of a mask in place."""
    y, x, patch = mask_window
    pixels = image[y : y + patch.shape[0], x : x + patch.shape[1]]
    inside = patch > 0.5
    pixels[inside] = np.round(pixels[inside] * (1 - MASK_OPACITY) + np.array(colour) * MASK_OPACITY).astype(np.uint8)


def _draw_contours(draw: ImageDraw.ImageDraw, mask_window: MaskPatch, colour: Colour, line_width: int) -> None:
    """Draws the outline of a mask, closed along the image's border too."""
    y, x, patch = mask_window
    padded = np.pad(patch.astype(np.float32), 1)
    for contour in find_contours(padded, 0.5):
        points = [(x + column - 1, y + row - 1) for row, column in contour.tolist()]
        draw.line(points, fill=colour, width=line_width, joint="curve" if line_width > 2 else None)


def _draw_box(draw: ImageDraw.ImageDraw, box: np.ndarray, colour: Colour, line_width: int) -> None:
    """Draws the edges of a box inside the image, with a thin dark rim that shows on bright ground."""
    width, height = draw.im.size
    x0, y0, x1, y1 = (int(round(value)) for value in box.tolist())
    x0, y0 = min(max(x0, 0), width - 1), min(max(y0, 0), height - 1)
    x1, y1 = max(min(x1, width) - 1, x0), max(min(y1, height) - 1, y0)
    if line_width > 1:
        rim = line_width // 2
        draw.rectangle((x0 - rim, y0 - rim, x1 + rim, y1 + rim), outline=(0, 0, 0), width=rim)
    draw.rectangle((x0, y0, x1, y1), outline=colour, width=line_width)


def _draw_label(
    draw: ImageDraw.ImageDraw, place: Rectangle, colour: Colour, text: str, font: ImageFont.FreeTypeFont
) -> None:
    """Writes a label into its rectangle, in the ink that stands out more."""
    left, top, right, bottom = place
    draw.rectangle((left, top, right - 1, bottom - 1), fill=colour)
    red, green, blue = colour
    ink = "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 110 else "white"
    draw.text((left + _margin(font), top), text, fill=ink, font=font)


def _margin(font: ImageFont.FreeTypeFont) -> int:
    """Returns the pixels left free on either side of a label's text."""
    return max(1, font.size // 6)


def _label_size(text: str, font: ImageFont.FreeTypeFont) -> tuple[int, int]:
    """Returns the width and height of a label in pixels; the height fits letters of every shape."""
    return math.ceil(font.getlength(text)) + 2 * _margin(font), sum(font.getmetrics())


def _place_label(
    box: np.ndarray, label_size: tuple[int, int], image_size: tuple[int, int], taken: Sequence[Rectangle]
) -> Rectangle:
    """Returns a rectangle for a label: above the box, else inside, below or beside it.

    It lies in the image, and clear of those in `taken` if any of the places tried is.
    """
    (label_width, label_height), (width, height) = label_size, image_size
    x0, y0, x1, y1 = (int(round(value)) for value in box.tolist())
    heights = [y0 - label_height, y0, y1, y1 - label_height, y0 - 2 * label_height, y1 + label_height]
    wishes = [(x, y) for x in (x0, x1 - label_width) for y in heights]
    wishes += [(x, y) for x in (x1, x0 - label_width) for y in (y0, y1 - label_height)]
    moved = [(max(min(x, width - label_width), 0), max(min(y, height - label_height), 0)) for x, y in wishes]
    # Places that had to be moved into the image come last: they may stand far from the box's corners.
    places = sorted(moved, key=lambda place: place not in wishes)
    rectangles = [(x, y, x + label_width, y + label_height) for x, y in places]
    return next((place for place in rectangles if not any(_overlap(place, other) for other in taken)), rectangles[0])


def _overlap(one: Rectangle, other: Rectangle) -> bool:
    """Says whether two (left, top, right, bottom) rectangles share a pixel."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _shorten(label: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Returns the label, its name cut where needed so that it and its score fit into `width` pixels."""
    label = "".join(letter if letter.isprintable() else "?" for letter in label)  # Pillow refuses the others
    name, space, score = label.rpartition(" ")
    if not score.replace(".", "", 1).isdigit():
        name, space, score = label, "", ""
    length = len(name)
    while length and font.getlength(label) > width:
        length -= 1
        label = f"{name[:length].rstrip()}…{space}{score}" if length else score
    return label


@lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Returns DejaVu Sans, which matplotlib brings along, with letters of `size` pixels."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)


def _line_width(picture_size: tuple[int, int]) -> int:
    """Returns the width of lines in pixels: 1 at 200 x 200, 2 at 640 x 480, 7 at 2000 x 2000."""
    return max(1, round(math.sqrt(picture_size[0] * picture_size[1]) / 275))


def _choose_colours(
    numbers: np.ndarray, names: Sequence[str], colour_by: str, class_names: Sequence[str] | None
) -> list[Colour]:
    """Returns a colour for each object."""
    if colour_by not in ("class", "instance"):
        raise ValueError(f"colour_by is {colour_by!r}, expected 'class' or 'instance'.")
    if colour_by == "instance":
        places = list(range(len(names)))
    elif class_names is None:
        places = [number - 1 for number in numbers.tolist()]
    else:
        order = {name: place for place, name in enumerate(class_names)}
        places = [order.get(name, len(order)) for name in names]
    return [PALETTE[place % len(PALETTE)] for place in places]


def _checked_image(image: np.ndarray, image_size: tuple[int, int] | None) -> np.ndarray:
    """Returns a copy of the image as uint8 [H, W, 3], or raises ValueError."""
    image = np.asarray(image)
    grey = image.ndim == 2
    if image.dtype != np.uint8 or not (grey or (image.ndim == 3 and image.shape[2] == 3)) or 0 in image.shape:
        raise ValueError(
            f"The image is {image.dtype} {list(image.shape)}, expected uint8 [H, W, 3] or [H, W]; convert it first."
        )
    if image_size is not None and image.shape[:2] != tuple(image_size):
        raise ValueError(
            f"The image is {image.shape[0]} x {image.shape[1]} pixels, but the objects belong to one of "
            f"{image_size[0]} x {image_size[1]}; draw them into the image that they were found in."
        )
    return np.repeat(image[:, :, None], 3, axis=2) if grey else image.copy()
