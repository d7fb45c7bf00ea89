"""IoU of boxes in NumPy, and the pairs of boxes or masks that belong together by it.

`ops.boxes` has the IoU in TensorFlow; the IoU of masks is that of pycocotools. Shape letters: P boxes, Q others.
"""

from __future__ import annotations

import numpy as np


def box_iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns the IoU of each box with each of the others.

    Args:
        boxes: float [P, 4], xyxy pixels.
        others: float [Q, 4], likewise.

    Returns:
        float64 [P, Q], 0 to 1; 0 where neither box has an area.

    Example:
        >>> box_iou(np.array([[0, 0, 2, 2]]), np.array([[0, 0, 2, 1], [5, 5, 6, 6]])).tolist()
        [[0.5, 0.0]]
    """
    boxes, others = np.asarray(boxes, np.float64)[:, None], np.asarray(others, np.float64)[None]
    sides = np.minimum(boxes[..., 2:], others[..., 2:]) - np.maximum(boxes[..., :2], others[..., :2])
    intersection = np.maximum(sides, 0).prod(axis=-1)
    union = _areas(boxes) + _areas(others) - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def match_pairs(scores: np.ndarray, min_score: float, rows_in_order: bool = False) -> list[tuple[int, int]]:
    """Pairs rows with columns greedily: the best pair first, each row and each column at most once.

    Args:
        scores: float [P, Q], how well a row and a column fit, such as their IoU. Of equal scores the pair with the
            first row, then with the first column, goes first.
        min_score: pairs below this are not made.
        rows_in_order: let the rows choose one after the other, as COCO lets detections choose, best score first.

    Returns:
        list of (row, column), in the order in which they were chosen.

    Example:
        >>> match_pairs(np.array([[0.8, 0.6], [0.9, 0.0]]), 0.5)
        [(1, 0), (0, 1)]
        >>> match_pairs(np.array([[0.8, 0.6], [0.9, 0.0]]), 0.5, rows_in_order=True)
        [(0, 0)]
    """
    rows, columns = np.nonzero(scores >= min_score)
    keys = [-scores[rows, columns], *([rows] if rows_in_order else [])]  # the last one counts first
    order = np.lexsort(keys)
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for row, column in zip(rows[order].tolist(), columns[order].tolist()):
        if row not in pairs and column not in taken:
            pairs[row] = column
            taken.add(column)
    return list(pairs.items())


def _areas(boxes: np.ndarray) -> np.ndarray:
    return np.maximum(boxes[..., 2:] - boxes[..., :2], 0).prod(axis=-1)
