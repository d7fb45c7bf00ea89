"""Maps annotated objects to a new image, as TensorFlow functions: their outlines, boxes and compact masks.

A silhouette is the visible part of an object, in pixels of the canvas on which its image is placed. For small objects
each pixel is split into factor x factor parts, so that boxes and compact masks keep the detail of the outline.

Shapes: G objects, S side of a compact mask, n cells of all fine masks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from keras_mrcnn.data.augmentation_maps import corners_of, extent, inverse_map, keeps_axes, map_points
from keras_mrcnn.data.transforms import compact_mask

# Pixels are split until the longer side of the object has this many parts, but into at most 8 x 8.
FINE_SIDE = 128
LARGEST_FACTOR = 8
# Objects are dropped below these: the side of the box in pixels, and the share that pasted objects leave visible.
LEAST_SIDE = 1.0
LEAST_VISIBLE = 0.05


class Silhouette(NamedTuple):
    """The visible part of an object on a canvas.

    Attributes:
        box: float64 [4], xyxy pixels of the canvas, around the whole object as far as it lies on the canvas.
        corner: int32 [2], (x, y), pixel of the canvas at which `parts` begins.
        factor: int32 [], parts along each side of a pixel.
        parts: bool [h * factor, w * factor], the visible parts of h x w pixels.
    """

    box: tf.Tensor
    corner: tf.Tensor
    factor: tf.Tensor
    parts: tf.Tensor

    @property
    def area(self) -> tf.Tensor:
        """Returns the visible area in pixels of the canvas: float64 []."""
        factor = tf.cast(self.factor, tf.float64)
        return tf.cast(tf.math.count_nonzero(self.parts), tf.float64) / factor**2

    @property
    def size(self) -> tf.Tensor:
        """Returns the size of the part of the canvas that `parts` covers: int32 [2], (h, w)."""
        return tf.shape(self.parts) // self.factor


def map_objects(
    objects: dict[str, tf.Tensor], matrix: tf.Tensor, canvas_size: tf.Tensor, use: Callable[[Silhouette], tf.Tensor],
    signature: tf.TypeSpec, rotated: bool = True,
) -> tf.Tensor:  # fmt: skip
    """Maps each object to a canvas, and computes something of its silhouette.

    Args:
        objects: dict of boxes float [G, 4], frames int32 [G, 5], starts int32 [G] and cells uint8 [n], the fine masks
            of an image as `shards.decode_record` gives them.
        matrix: float64 [2, 3], from pixels of the image to pixels of the canvas.
        canvas_size: int32 [2], (h, w).
        use: function of a `Silhouette`.
        signature: type of its result.
        rotated: whether the map may rotate; without, the boxes of the outlines need not be searched.

    Returns:
        The results of all objects, stacked.
    """

    def one(values: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
        box, frame, start = values
        cells = tf.reshape(objects["cells"][start : start + frame[3] * frame[4]], frame[3:])
        return use(_silhouette(cells, frame, tf.cast(box, tf.float64), matrix, canvas_size, rotated))

    values = (objects["boxes"], objects["frames"], objects["starts"])
    return tf.map_fn(one, values, fn_output_signature=signature)


def _silhouette(
    cells: tf.Tensor, frame: tf.Tensor, box: tf.Tensor, matrix: tf.Tensor, canvas_size: tf.Tensor, rotated: bool
) -> Silhouette:
    """Maps the fine mask of an object to a canvas.

    Args:
        cells: uint8 [h, w], 0 or 1.
        frame: int32 [5], place of the cells: left, top, factor, h, w.
        box: float64 [4], xyxy pixels of the image, as annotated.
        matrix, canvas_size, rotated: as for `map_objects`.

    Returns:
        Silhouette of the object; its `parts` are False if the object lies outside the canvas.
    """
    corner, cell_factor = tf.cast(frame[:2], tf.float64), tf.cast(frame[2], tf.float64)
    limits = tf.cast(tf.tile(canvas_size[::-1], [2]), tf.float64)
    whole = extent(map_points(matrix, corners_of(box)))
    if rotated:
        around = extent(map_points(matrix, _outer_corners(cells) / cell_factor + corner))
        # Without rotation the annotated box is the most exact; a rotated box is not the box of the rotated object.
        whole = tf.where(keeps_axes(matrix), whole, around)
    else:
        far = corner + tf.cast(frame[:2:-1], tf.float64) / cell_factor
        around = extent(map_points(matrix, tf.stack([corner, far])))
    longest = tf.maximum(tf.reduce_max(around[2:] - around[:2]), 1.0)
    factor = tf.clip_by_value(tf.cast(tf.math.ceil(FINE_SIDE / longest), tf.int32), 1, LARGEST_FACTOR)
    around = tf.clip_by_value(around, tf.zeros_like(limits), limits)
    start = tf.floor(around[:2])
    size = tf.cast(tf.math.ceil(around[2:]) - start, tf.int32)[::-1]
    # From places of parts to places of cells; the operation counts from the centre of the first, and rounds.
    back, split = inverse_map(matrix), tf.cast(factor, tf.float64)
    shift = tf.linalg.matvec(back[:, :2], start + 0.5 / split) + back[:, 2]
    rows = tf.concat([back[:, :2] / split, (shift - corner)[:, None]], axis=1) * cell_factor
    rows -= [[0.0, 0.0, 0.5]] * 2
    sampled = tf.raw_ops.ImageProjectiveTransformV3(
        images=cells[None, :, :, None],
        transforms=tf.cast(tf.concat([tf.reshape(rows, [1, 6]), tf.zeros([1, 2], tf.float64)], axis=1), tf.float32),
        output_shape=tf.maximum(size, 1) * factor,
        interpolation="NEAREST",
        fill_mode="CONSTANT",
        fill_value=0.0,
    )[0, ..., 0]
    parts = tf.cast(sampled, tf.bool) & tf.reduce_all(size > 0)
    whole = tf.clip_by_value(whole, tf.zeros_like(limits), limits)
    return Silhouette(whole, tf.cast(start, tf.int32), factor, parts)


def _outer_corners(cells: tf.Tensor) -> tf.Tensor:
    """Returns the outer corners of the first and the last covered cell of each row: float64 [m, 2], (x, y)."""
    rows = tf.reshape(tf.where(tf.reduce_any(cells > 0, axis=1)), [-1])
    covered = tf.gather(cells, rows)
    first = tf.argmax(covered, axis=1)
    last = tf.shape(cells, tf.int64)[1] - tf.argmax(covered[:, ::-1], axis=1)
    corners = [tf.stack([x, y], axis=1) for x in (first, last) for y in (rows, rows + 1)]
    return tf.cast(tf.concat(corners, axis=0), tf.float64)


def covered_pixels(
    objects: dict[str, tf.Tensor], matrix: tf.Tensor, canvas_size: tf.Tensor, rotated: bool = True
) -> tf.Tensor:
    """Returns the pixels of the canvas that any object fills to at least one half: bool [h, w].

    Args:
        objects, matrix, canvas_size, rotated: as for `map_objects`.
    """

    def pixels(silhouette: Silhouette) -> tf.Tensor:
        (height, width), factor = tf.unstack(silhouette.size), silhouette.factor
        parts = tf.reshape(tf.cast(silhouette.parts, tf.float32), [height, factor, width, factor])
        filled = tf.reduce_mean(parts, axis=[1, 3]) >= 0.5
        left, top = tf.unstack(silhouette.corner)
        # A silhouette outside the canvas is one pixel wide, and may begin at its very edge.
        filled = filled[: canvas_size[0] - top, : canvas_size[1] - left]
        bottom, right = tf.unstack(canvas_size - [top, left] - tf.shape(filled))
        return tf.pad(filled, [[top, bottom], [left, right]])

    def any_object() -> tf.Tensor:
        masks = map_objects(objects, matrix, canvas_size, pixels, tf.TensorSpec([None, None], tf.bool), rotated)
        return tf.reduce_any(masks, axis=0)

    # Masks of a size that is not known before cannot be stacked if there are none.
    return tf.cond(tf.size(objects["starts"]) > 0, any_object, lambda: tf.zeros(canvas_size, tf.bool))


def visible_objects(
    objects: dict[str, tf.Tensor],
    matrix: tf.Tensor,
    canvas_size: tf.Tensor,
    mask_size: int,
    covered: tf.Tensor | None = None,
    rotated: bool = True,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns the boxes and compact masks of the visible parts of objects.

    A side of the box keeps its exact place unless the object is cut off there; then it moves to the outermost visible
    part.

    Args:
        objects, matrix, canvas_size, rotated: as for `map_objects`.
        mask_size: side of the compact masks, S; 0 for none.
        covered: bool [h, w], pixels of the canvas that something else covers; None for none.

    Returns:
        boxes float32 [G, 4], xyxy pixels of the canvas, masks uint8 [G, S, S], and kept bool [G], which is False for
        objects of which less than one pixel is visible or less than `LEAST_VISIBLE` is not covered, and for boxes with
        a side below `LEAST_SIDE`.
    """

    def visible(silhouette: Silhouette) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        before = silhouette.area
        if covered is not None:
            silhouette = _cover(silhouette, covered)
        area = silhouette.area
        kept = (area >= 1) & (area >= LEAST_VISIBLE * before)
        return tf.cond(
            kept,
            lambda: _box_and_mask(silhouette, mask_size),
            lambda: (tf.zeros([4]), tf.zeros([mask_size, mask_size], tf.uint8), False),
        )

    signature = (
        tf.TensorSpec([4], tf.float32),
        tf.TensorSpec([mask_size, mask_size], tf.uint8),
        tf.TensorSpec([], tf.bool),
    )
    return map_objects(objects, matrix, canvas_size, visible, signature, rotated)


def _cover(silhouette: Silhouette, covered: tf.Tensor) -> Silhouette:
    """Returns a silhouette without the pixels that something else covers, bool [h, w]."""
    (left, top), (height, width) = tf.unstack(silhouette.corner), tf.unstack(silhouette.size)
    hidden = covered[top : top + height, left : left + width]
    hidden = tf.pad(hidden, [[0, height - tf.shape(hidden)[0]], [0, width - tf.shape(hidden)[1]]])
    fine = tf.repeat(tf.repeat(hidden, silhouette.factor, axis=0), silhouette.factor, axis=1)
    return silhouette._replace(parts=silhouette.parts & ~fine)


def _box_and_mask(silhouette: Silhouette, mask_size: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns box float32 [4] and compact mask uint8 [S, S] of a silhouette, and whether the box is large enough."""
    columns, rows = (tf.where(tf.reduce_any(silhouette.parts, axis=axis))[:, 0] for axis in (0, 1))
    ends = tf.cast(tf.stack([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]), tf.float64)
    factor, corner = tf.cast(silhouette.factor, tf.float64), tf.cast(tf.tile(silhouette.corner, [2]), tf.float64)
    seen = ends / factor + corner
    box = tf.where(tf.abs(seen - silhouette.box) <= 1 / factor, silhouette.box, seen)
    mask = tf.zeros([0, 0], tf.uint8)
    if mask_size:
        mask = compact_mask(silhouette.parts, (box - corner) * factor, mask_size)
    return tf.cast(box, tf.float32), mask, tf.reduce_all(box[2:] - box[:2] >= LEAST_SIDE)
