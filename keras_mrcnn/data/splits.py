"""Divides the images of a data set into a training and a validation part, or into folds."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Container, Hashable, Iterable, Sequence
from itertools import product
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.formats.writing.parts import check_content

FOLDER, NAME_PREFIX = "folder", "name:"


class Division(NamedTuple):
    """A data set in two parts.

    Args:
        train, val: contents of COCO files.
        num_groups: how many groups of images were kept together; without groups, the number of images.
        one_sided: names of the classes with objects in two or more images that are in one part only, because one group
            has all of them or because every way to divide them would take another class from a part.
    """

    train: dict
    val: dict
    num_groups: int
    one_sided: tuple[str, ...]


def divide(content: dict, val_share: float, by: str | None = None, seed: int = 0) -> Division:
    """Divides a data set at random.

    The validation part has the number of images that is nearest to its share. After that draw, as few images as needed
    change sides so that every class with objects in at least two images is in both parts, and others in return so that
    the share stays. The same images and seed give the same parts, in whatever order the images are listed.

    Args:
        content: content of a COCO file.
        val_share: share of the images for validation, above 0 and below 1.
        by: what keeps images together, see `group_of`; None divides image by image.
        seed: seed of the draw.

    Returns:
        `Division`; both contents have all categories.

    Raises:
        UserError: a record is malformed, there are fewer than two groups, or images cannot be grouped.

    Example:
        >>> images = [{"id": n, "file_name": f"{n // 2}/{n}.jpg", "height": 4, "width": 4} for n in range(10)]
        >>> content = {"images": images, "annotations": [], "categories": []}
        >>> division = divide(content, 0.2, by="folder")
        >>> len(division.train["images"]), len({image["file_name"][0] for image in division.val["images"]})
        (8, 1)
    """
    check_content(content)
    images = sorted(content["images"], key=lambda image: (image["file_name"], image["id"]))
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for image in images:
        groups[image["id"] if by is None else group_of(image, by)].append(image["id"])
    if len(groups) < 2:
        raise UserError(
            f"the data set has {len(images)} images in fewer than two groups, and no group can be in both parts; add "
            "images, or divide it without --by or by something that tells more groups apart"
        )
    classes_of = _classes_of(content)
    draw = _Draw(list(groups.values()), classes_of, val_share, seed)
    draw.at_random()
    draw.cover_classes()
    draw.restore_share()
    val_ids = {image_id for group, is_val in zip(groups.values(), draw.is_val) if is_val for image_id in group}
    train_ids = _image_ids(content) - val_ids
    one_sided = _one_sided(content, classes_of, val_ids)
    return Division(part_of(content, train_ids), part_of(content, val_ids), len(groups), one_sided)


def divide_into_folds(content: dict, count: int, by: str | None = None, seed: int = 0) -> list[set[int]]:
    """Divides the images of a data set at random into folds of about the same size, for cross-validation.

    Each fold is the validation part that `divide` draws from what is left, so classes spread over the folds where that
    is possible, and groups stay together.

    Args:
        content: content of a COCO file.
        count: number of folds, at least 2.
        by: what keeps images together, see `group_of`; None divides image by image.
        seed: seed of the draws.

    Returns:
        List with the image ids of each fold; every image is in exactly one.

    Raises:
        UserError: a record is malformed, there are fewer groups than folds, or images cannot be grouped.

    Example:
        >>> images = [{"id": n, "file_name": f"{n}.jpg", "height": 4, "width": 4} for n in range(7)]
        >>> folds = divide_into_folds({"images": images, "annotations": [], "categories": []}, 3)
        >>> [len(fold) for fold in folds], sorted(set().union(*folds))
        ([2, 2, 3], [0, 1, 2, 3, 4, 5, 6])
    """
    check_content(content)
    groups = len({image["id"] if by is None else group_of(image, by) for image in content["images"]})
    if groups < count:
        raise UserError(
            f"the data set has {len(content['images'])} images in {groups} groups, which are too few for {count} "
            "folds; take fewer folds, or divide it without --by"
        )
    folds, rest = [], content
    for left in range(count, 1, -1):
        division = divide(rest, 1 / left, by, seed)
        folds.append(_image_ids(division.val))
        rest = division.train
    return [*folds, _image_ids(rest)]


def part_of(content: dict, image_ids: Container[int]) -> dict:
    """Returns the content of a COCO file with these images and their annotations, and with all categories."""
    return {
        **content,
        "images": [image for image in content["images"] if image["id"] in image_ids],
        "annotations": [item for item in content["annotations"] if item["image_id"] in image_ids],
    }


def _image_ids(content: dict) -> set[int]:
    """Returns the ids of the images of a COCO file."""
    return {image["id"] for image in content["images"]}


def _one_sided(content: dict, classes_of: dict[int, set[int]], val_ids: set[int]) -> tuple[str, ...]:
    """Returns the names of the classes that two or more images have and one part lacks."""
    sides = defaultdict(list)
    for image_id, classes in classes_of.items():
        for category_id in classes:
            sides[category_id].append(image_id in val_ids)
    one_sided = {number for number, found in sides.items() if len(found) > 1 and len(set(found)) == 1}
    return tuple(category["name"] for category in content["categories"] if category["id"] in one_sided)


def group_of(image: dict, by: str) -> Hashable:
    """Returns the group of an image.

    Args:
        image: entry of 'images' of a COCO file.
        by: "folder" for the folder in its file name; "name:PATTERN" for what a regular expression matches at the start
            of its name, or what the parentheses in it match; anything else is a field of the entry.

    Raises:
        UserError: the image has no such field, or its name does not match.

    Example:
        >>> image = {"file_name": "night/cam3_0017.jpg", "height": 4, "width": 4, "place": "Graz"}
        >>> [group_of(image, by) for by in ("folder", "name:cam[0-9]+", "name:(.*)_", "place")]
        ['night', 'cam3', 'cam3', '"Graz"']
    """
    path = PurePosixPath(image["file_name"])
    if by == FOLDER:
        return path.parent.as_posix()
    if by.startswith(NAME_PREFIX):
        match = _pattern(by).match(path.name)
        if match is None:
            raise UserError(
                f"the name of image {image['file_name']} does not begin with the pattern {by[len(NAME_PREFIX) :]}; "
                "correct --by so that it matches all of them"
            )
        return match.groups() if len(match.groups()) > 1 else match[len(match.groups())]
    if by not in image:
        raise UserError(
            f"image {image['file_name']} has no field '{by}'; choose one of {', '.join(image)}, or {FOLDER}, or "
            f"{NAME_PREFIX}PATTERN"
        )
    return json.dumps(image[by], sort_keys=True)


def _pattern(by: str) -> re.Pattern:
    """Returns the regular expression of "name:PATTERN"."""
    pattern = by[len(NAME_PREFIX) :]
    try:
        return re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise UserError(f"--by: {pattern} is no regular expression ({error}); correct it") from error


def _classes_of(content: dict) -> dict[int, set[int]]:
    """Returns the category ids of the objects in each image, without crowd regions."""
    classes: dict[int, set[int]] = {image["id"]: set() for image in content["images"]}
    for annotation in content["annotations"]:
        if not annotation.get("iscrowd") and annotation["image_id"] in classes:
            classes[annotation["image_id"]].add(annotation["category_id"])
    return classes


class _Draw:
    """A draw of groups of images for validation, step by step; `is_val` says where each group is."""

    def __init__(self, groups: Sequence[Sequence[int]], classes_of: dict, share: float, seed: int) -> None:
        self.sizes = [len(group) for group in groups]
        self.classes = [set().union(*(classes_of[image_id] for image_id in group)) for group in groups]
        total = sum(self.sizes)
        self.target = min(max(round(total * share), 1), total - 1)
        self.order = np.random.default_rng(seed).permutation(len(groups)).tolist()
        self.is_val = [False] * len(groups)
        self.num_val = 0
        self.everywhere = Counter(category_id for classes in self.classes for category_id in classes)
        self.present = {False: Counter(self.everywhere), True: Counter()}  # groups with a class in train and in val
        self.num_groups = {False: len(groups), True: 0}
        self.members = defaultdict(list)
        for group in self.order:
            for category_id in self.classes[group]:
                self.members[category_id].append(group)

    def at_random(self) -> None:
        """Takes groups in random order as long as they bring the number of images nearer to the target."""
        for group in self.order:
            if abs(self.num_val + self.sizes[group] - self.target) < abs(self.num_val - self.target):
                self._move(group)
        if not any(self.is_val) or all(self.is_val):  # each group alone is larger than twice the target
            self._move(min(self.order, key=self.sizes.__getitem__))

    def cover_classes(self) -> None:
        """Moves a group for each class that a part lacks, if need be in exchange for others."""
        rarest_first = sorted(self.members, key=lambda category_id: (len(self.members[category_id]), category_id))
        for category_id, lacking in product(rarest_first, (True, False)):
            groups = self.members[category_id]
            if len(groups) > 1 and not self.present[lacking][category_id]:
                group = next(filter(self._can_leave, groups), None)
                if group is not None:
                    self._move(group)
                else:
                    next(filter(self._move_for_others, groups), None)

    def _move_for_others(self, group: int) -> bool:
        """Moves a group, and others back that have the classes it takes away; if there are none, nothing moves."""
        side, moved = self.is_val[group], [group]
        self._move(group)
        for category_id in sorted(self.classes[group]):
            if self.everywhere[category_id] > 1 and not self.present[side][category_id]:
                rest = (other for other in self.members[category_id] if other != group)
                other = next(filter(self._can_leave, rest), None)
                if other is None:
                    for undone in moved:
                        self._move(undone)
                    return False
                self._move(other)
                moved.append(other)
        return True

    def restore_share(self) -> None:
        """Moves single groups, then exchanges pairs, while that brings the number of images nearer to the target."""
        for group in self.order:
            if self._gap_after(self._change(group)) < self._gap_after(0) and self._can_leave(group):
                self._move(group)
        while self._exchange_pair():
            pass

    def _exchange_pair(self) -> bool:
        """Exchanges the two groups that bring the share nearest to the target; returns whether there are any."""
        by_size: dict[bool, dict[int, list[int]]] = {False: defaultdict(list), True: defaultdict(list)}
        for group in self.order:
            by_size[self.is_val[group]][self.sizes[group]].append(group)
        pairs = sorted(product(by_size[False], by_size[True]), key=lambda pair: self._gap_after(pair[0] - pair[1]))
        for gained, lost in pairs:
            if self._gap_after(gained - lost) >= self._gap_after(0):
                break
            if self._exchange(by_size[False][gained], by_size[True][lost]):
                return True
        return False

    def _exchange(self, from_train: Iterable[int], from_val: Iterable[int]) -> bool:
        """Exchanges the first group of each list that may leave; returns whether there are two."""
        first = next(filter(self._can_leave, from_train), None)
        if first is None:
            return False
        self._move(first)
        second = next(filter(self._can_leave, from_val), None)
        self._move(first if second is None else second)
        return second is not None

    def _change(self, group: int) -> int:
        """Returns by how much the validation part grows if a group moves."""
        return -self.sizes[group] if self.is_val[group] else self.sizes[group]

    def _gap_after(self, change: int) -> int:
        return abs(self.num_val + change - self.target)

    def _can_leave(self, group: int) -> bool:
        """Returns whether a part keeps a group, and every class of this group that another group has too."""
        side = self.is_val[group]
        here = self.present[side]
        return self.num_groups[side] > 1 and all(
            here[category_id] > 1 or self.everywhere[category_id] == 1 for category_id in self.classes[group]
        )

    def _move(self, group: int) -> None:
        """Moves a group to the other part."""
        side = self.is_val[group]
        self.present[side].subtract(self.classes[group])
        self.present[not side].update(self.classes[group])
        self.num_groups[side] -= 1
        self.num_groups[not side] += 1
        self.num_val += self._change(group)
        self.is_val[group] = not side
