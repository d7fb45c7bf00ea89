"""Division of a data set: shares, groups, classes on both sides, and what cannot be divided."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.splits import divide, divide_into_folds, group_of, part_of


def content_of(classes, names=None, **fields):
    """A data set with an image for each set of category ids."""
    images = [
        {"id": number, "file_name": (names or {}).get(number, f"{number:03d}.jpg"), "height": 4, "width": 4}
        for number in range(len(classes))
    ]
    pairs = [(number, category_id) for number, found in enumerate(classes) for category_id in sorted(found)]
    annotations = [
        {"id": row, "image_id": number, "category_id": category_id, "iscrowd": 0, "bbox": [1, 1, 2, 2], **fields}
        for row, (number, category_id) in enumerate(pairs)
    ]
    ids = sorted({category_id for _, category_id in pairs})
    return {
        "info": {"year": 2020},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": f"class {number}"} for number in ids],
    }


def ids(content):
    return [image["id"] for image in content["images"]]


def images_of_classes(content):
    found = defaultdict(set)
    for item in content["annotations"]:
        found[item["category_id"]].add(item["image_id"])
    return found


@pytest.mark.parametrize(("count", "share", "expected"), [(10, 0.2, 2), (11, 0.25, 3), (2, 0.01, 1), (3, 0.99, 2)])
def test_share_of_the_images(count, share, expected):
    division = divide(content_of([set()] * count), share)
    assert len(division.val["images"]) == expected and len(division.train["images"]) == count - expected
    assert division.num_groups == count and division.one_sided == ()


def test_parts_are_complete():
    content = content_of([{1}, {2}, {1, 2}, {2}, {1}])
    division = divide(content, 0.4, seed=3)
    for name in ("images", "annotations"):
        both = division.train[name] + division.val[name]
        assert sorted(both, key=lambda record: record["id"]) == content[name]
    for part in (division.train, division.val):
        assert part["info"] == content["info"] and part["categories"] == content["categories"]
        assert {item["image_id"] for item in part["annotations"]} <= set(ids(part))


def test_seed_alone_decides():
    content = content_of([{1}] * 30)
    again = {**content, "images": content["images"][::-1]}
    assert ids(divide(content, 0.3, seed=1).val) == ids(divide(again, 0.3, seed=1).val)[::-1]
    assert ids(divide(content, 0.3, seed=1).val) != ids(divide(content, 0.3, seed=2).val)


def test_rare_class_is_on_both_sides():
    classes = [{1}] * 40 + [{1, 2}, {1, 2}, {1, 3}]
    for seed in range(20):
        division = divide(content_of(classes), 0.1, seed=seed)
        assert len(set(ids(division.val)) & {40, 41}) == 1
        assert len(division.val["images"]) == 4  # the share stays
        assert division.one_sided == ()  # class 3 has one image only


def test_classes_on_both_sides_matter_more_than_the_share():
    classes = [{number} for number in range(10) for _ in range(2)]
    division = divide(content_of(classes), 0.1)
    assert len(division.val["images"]) == 10 and division.one_sided == ()


def test_exchange_for_a_class_that_no_single_move_brings_over():
    # Image 0 alone has class 2 beside 1; where 0 and 1 are in one part, 0 must not leave without another taking over.
    classes = [{1, 2}, {1}, {2, 3}, {3}]
    for seed in range(30):
        assert divide(content_of(classes), 0.5, seed=seed).one_sided == ()


def test_crowd_regions_do_not_count():
    division = divide(content_of([{1}, {1}, {1}, {1}], iscrowd=1), 0.25)
    assert len(division.val["images"]) == 1 and division.one_sided == ()


def test_groups_stay_together_and_the_share_is_met():
    names = {number: f"{folder}/{number}.jpg" for number, folder in enumerate("aaaabbbccd")}
    for seed in range(20):
        division = divide(content_of([set()] * 10, names), 0.3, "folder", seed)
        folders = [{image["file_name"][0] for image in part["images"]} for part in (division.train, division.val)]
        assert not folders[0] & folders[1] and len(division.val["images"]) == 3 and division.num_groups == 4


def test_class_of_one_group_is_named():
    names = {number: f"{'a' if number < 2 else number}/{number}.jpg" for number in range(6)}
    division = divide(content_of([{1}, {1}, {2}, {2}, {2}, {2}], names), 0.5, "folder")
    assert division.one_sided == ("class 1",)


@given(
    st.lists(st.tuples(st.integers(0, 7), st.sets(st.integers(1, 5), max_size=3)), min_size=2, max_size=25),
    st.floats(0.05, 0.95),
    st.integers(0, 5),
)
@settings(max_examples=150, deadline=None)
def test_any_groups(images, share, seed):
    names = {number: f"{folder}/{number}.jpg" for number, (folder, _) in enumerate(images)}
    content = content_of([classes for _, classes in images], names)
    if len({folder for folder, _ in images}) < 2:
        return
    division = divide(content, share, "folder", seed)
    train, val = set(ids(division.train)), set(ids(division.val))
    assert train and val and not train & val and len(train | val) == len(images)
    assert not {images[number][0] for number in train} & {images[number][0] for number in val}
    for category_id, found in images_of_classes(content).items():
        is_one_sided = len(found) > 1 and not (found & train and found & val)
        assert is_one_sided == (f"class {category_id}" in division.one_sided)


@pytest.mark.parametrize(
    ("by", "group"),
    [
        ("folder", "street/night"),
        ("name:cam[0-9]+", "cam07"),
        ("name:cam([0-9])", "0"),
        ("name:([a-z]+)([0-9]+)", ("cam", "07")),
        ("name:(x)?cam", None),
        ("patient", '"P 1"'),
        ("size", "[4, 4]"),
    ],
)
def test_groups(by, group):
    image = {"file_name": "street/night/cam07_1.jpg", "patient": "P 1", "size": [4, 4]}
    assert group_of(image, by) == group


@pytest.mark.parametrize(
    ("by", "sentence"),
    [
        ("patient", "image 000.jpg has no field 'patient'; choose one of id, file_name, height, width, or folder, or"),
        ("name:cam", "the name of image 000.jpg does not begin with the pattern cam; correct --by"),
        ("name:(", "--by: ( is no regular expression ("),
        ("folder", "the data set has 3 images in fewer than two groups, and no group can be in both parts"),
        ("height", "the data set has 3 images in fewer than two"),
    ],
)
def test_images_that_cannot_be_grouped(by, sentence):
    with pytest.raises(UserError) as caught:
        divide(content_of([set()] * 3), 0.5, by)
    assert str(caught.value).startswith(sentence)


def test_malformed_records():
    content = content_of([{1}, {1}])
    del content["images"][1]["file_name"]
    with pytest.raises(UserError, match="^entry 2 of 'images' in the annotations lacks the field 'file_name'"):
        divide(content, 0.5)


def test_objects_of_images_that_are_not_listed_do_not_count():
    content = content_of([{1}, {2}, {2}])
    content["annotations"].append({**content["annotations"][0], "id": 9, "image_id": 99})
    assert divide(content, 0.3).one_sided == ()


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_images(count):
    with pytest.raises(UserError, match=f"the data set has {count} images in fewer"):
        divide(content_of([set()] * count), 0.5)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sets(st.integers(1, 3)), min_size=5, max_size=20), st.integers(2, 5), st.integers(0, 3))
def test_folds_are_disjoint_and_complete(classes, count, seed):
    folds = divide_into_folds(content_of(classes), count, seed=seed)
    assert len(folds) == count and all(folds)
    assert sorted(image_id for fold in folds for image_id in fold) == list(range(len(classes)))
    assert folds == divide_into_folds(content_of(classes), count, seed=seed)


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_folds_are_about_equal(count):
    sizes = [len(fold) for fold in divide_into_folds(content_of([set()] * 17), count)]
    assert len(sizes) == count and max(sizes) - min(sizes) <= 1


def test_folds_keep_groups_together_and_spread_classes():
    classes = [{1}, {2}, {3}] * 4
    names = {number: f"{number // 2}/{number}.jpg" for number in range(12)}
    folds = divide_into_folds(content_of(classes, names), 3, by="folder")
    assert all({number ^ 1 for number in fold} == fold for fold in folds)  # 0 and 1, 2 and 3 ... go together
    rare = divide_into_folds(content_of([{1}] * 9 + [{1, 2}] * 3), 3)
    assert all(any(number >= 9 for number in fold) for fold in rare)
    with pytest.raises(UserError, match="12 images in 6 groups, which are too few for 7 folds"):
        divide_into_folds(content_of(classes, names), 7, by="folder")


def test_part_has_its_images_with_annotations_and_all_categories():
    content = content_of([{1}, {2}, {1, 3}])
    part = part_of(content, {2})
    assert ids(part) == [2] and {item["image_id"] for item in part["annotations"]} == {2}
    assert part["categories"] == content["categories"] and len(part["annotations"]) == 2
