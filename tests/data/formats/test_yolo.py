import pytest
from annotation_files import save_picture, save_text

from keras_mrcnn.base.errors import UserError
from keras_mrcnn.data.formats import find_splits, read_annotations

TRIANGLE = "0.25 0.5 0.75 0.5 0.75 1"
YAML = "path: .\ntrain: images/train\nval: images/val\nnames: [cat, dog]\n"


def picture(tmp_path, name, label=None, height=10, width=20):
    save_picture(tmp_path / "images" / f"{name}.png", height, width)
    if label is not None:
        save_text(tmp_path / "labels" / f"{name}.txt", label)


def names(annotations):
    return [(category["id"], category["name"]) for category in annotations.content["categories"]]


def test_fractions_become_pixels(tmp_path):
    picture(tmp_path, "train/a", f"1 {TRIANGLE}\n\n0 0 0 1 0 1 1\n")
    save_text(tmp_path / "data.yaml", YAML)
    annotations = read_annotations(tmp_path)
    records = annotations.content["annotations"]
    assert [record["segmentation"] for record in records] == [[[5, 5, 15, 5, 15, 10]], [[0, 0, 20, 0, 20, 10]]]
    assert [record["category_id"] for record in records] == [1, 0]
    assert names(annotations) == [(0, "cat"), (1, "dog")]
    assert annotations.notes == (f"{tmp_path / 'data.yaml'} names images/val for val, which does not exist",)
    assert annotations.image_folder == tmp_path / "images" / "train"


@pytest.mark.parametrize(
    "text",
    ["{0: cat, 1: dog}", "{'0': cat, '1': dog}", "\n- cat\n- dog\n", "\n  0: ' cat '\n  1: dog\n"],
)
def test_names_as_list_or_by_number(tmp_path, text):
    picture(tmp_path, "train/a", f"1 {TRIANGLE}")
    save_text(tmp_path / "data.yaml", f"train: images/train\nnames: {text}")
    assert names(read_annotations(tmp_path)) == [(0, "cat"), (1, "dog")]


@pytest.mark.parametrize(
    ("yaml", "split"),
    [
        ("train: images/train\n", "train"),
        ("path: ../somewhere/else\ntrain: images/train\n", "train"),
        ("path: /datasets/mine\ntrain: images/train\n", "train"),
        ("train: ../images/train\n", "train"),  # Roboflow's, which means a folder beside the file
        ("valid: images/train\n", "val"),
        ("train: [images/train]\n", "train"),
        ("train: train.txt\n", "train"),
        ("default: images/train\n", "default"),
    ],
)
def test_places_of_splits(tmp_path, yaml, split):
    picture(tmp_path, "train/a", f"1 {TRIANGLE}")
    save_text(tmp_path / "train.txt", "data/images/train/a.png\n\n")  # CVAT's, with a folder that is not there
    save_text(tmp_path / "data.yaml", f"{yaml}names: [cat, dog]\n")
    assert list(find_splits(tmp_path)) == [split]
    for source in (tmp_path, tmp_path / "data.yaml", find_splits(tmp_path)[split]):
        annotations = read_annotations(source)
        assert len(annotations.content["annotations"]) == 1
        assert names(annotations) == [(0, "cat"), (1, "dog")]
        file = annotations.image_folder / annotations.content["images"][0]["file_name"]
        assert file.samefile(tmp_path / "images" / "train" / "a.png")


def test_split_of_several_folders(tmp_path):
    for name in ("one/a", "two/a"):
        picture(tmp_path, name, f"1 {TRIANGLE}")
    save_text(tmp_path / "data.yaml", "train: [images/one, images/two]\nnames: [cat, dog]\n")
    annotations = read_annotations(tmp_path)
    assert [image["file_name"] for image in annotations.content["images"]] == ["one/a.png", "two/a.png"]
    assert len(annotations.content["annotations"]) == 2
    assert annotations.image_folder.samefile(tmp_path / "images")
    assert find_splits(tmp_path)["train"].samefile(tmp_path / "images")


def test_dataset_outside_its_folder(tmp_path):
    picture(tmp_path / "pictures", "train/a", f"1 {TRIANGLE}")
    save_text(tmp_path / "config" / "data.yaml", f"path: {tmp_path / 'pictures'}\n{YAML[8:]}")
    annotations = read_annotations(tmp_path / "config")
    assert annotations.image_folder == tmp_path / "pictures" / "images" / "train"


def test_folders_without_a_yaml_file(tmp_path):
    picture(tmp_path, "train/a", f"1 {TRIANGLE}")
    picture(tmp_path, "val/b", f"0 {TRIANGLE}")
    save_text(tmp_path / "classes.txt", "cat\ndog\n")
    assert find_splits(tmp_path) == {"train": tmp_path / "images" / "train", "val": tmp_path / "images" / "val"}
    annotations = read_annotations(tmp_path, split="val")
    assert [image["file_name"] for image in annotations.content["images"]] == ["b.png"]
    assert names(annotations) == [(0, "cat"), (1, "dog")]


def test_labels_beside_pictures_and_no_names(tmp_path):
    save_picture(tmp_path / "a.b.png")
    save_text(tmp_path / "a.b.txt", f"7 {TRIANGLE}\n3 {TRIANGLE}")
    annotations = read_annotations(tmp_path)
    assert names(annotations) == [(1, "7"), (2, "3")]
    assert annotations.notes == (
        "neither a yaml file nor classes.txt has names of the classes, so they are called by number",
    )


def test_pictures_without_labels(tmp_path):
    picture(tmp_path, "train/a", f"1 {TRIANGLE}")
    picture(tmp_path, "train/b", "")
    picture(tmp_path, "train/c")
    annotations = read_annotations(tmp_path)
    assert len(annotations.content["images"]) == 3
    assert annotations.notes[0] == "1 of 3 pictures has no label file, so no objects"
    (tmp_path / "labels" / "train" / "a.txt").unlink()
    (tmp_path / "labels" / "train" / "b.txt").unlink()
    with pytest.raises(UserError, match=r"has no label files for the pictures in .*train; check the path$"):
        read_annotations(tmp_path, format="yolo")


def test_labels_without_a_picture(tmp_path):
    picture(tmp_path, "train/a", f"1 {TRIANGLE}")
    picture(tmp_path, "train/b", f"1 {TRIANGLE}")
    save_text(tmp_path / "labels" / "train" / "notes.txt", "written by Anna")
    (tmp_path / "images" / "train" / "b.png").unlink()
    with pytest.raises(UserError, match=r"^1 picture of .* is not in .*train \(b\.jpg\); put"):
        read_annotations(tmp_path)
    assert read_annotations(tmp_path, skip_missing=True).skipped == {"missing picture": 1}


def test_lists_may_leave_pictures_out(tmp_path):
    for name in ("a", "b"):
        picture(tmp_path, name, f"1 {TRIANGLE}")
    save_text(tmp_path / "train.txt", "./images/a.png\n")
    save_text(tmp_path / "val.txt", "images/b.png\nimages/c.png\n")
    save_text(tmp_path / "data.yaml", "train: train.txt\nval: val.txt\nnames: [cat, dog]\n")
    assert len(read_annotations(tmp_path, split="train").content["annotations"]) == 1
    with pytest.raises(UserError, match=r"^1 picture of .* is not in .* \(images/c\.png\)"):
        read_annotations(tmp_path, split="val")


def test_boxes_have_no_masks(tmp_path):
    picture(tmp_path, "train/a", "0 0.5 0.5 0.2 0.2\n")
    with pytest.raises(UserError) as error:
        read_annotations(tmp_path)
    assert str(error.value) == (
        f"{tmp_path} has boxes (lines of 5 numbers), which say no masks; export polygons (YOLO segmentation)"
    )
    picture(tmp_path, "train/b", f"0 {TRIANGLE}\n0 0.5 0.5 0.2 0.2\n")
    assert read_annotations(tmp_path).skipped == {"box without a mask": 2}


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (f"x {TRIANGLE}", r"a\.txt, line 2 begins with 'x', not with the number of a class; correct it$"),
        (f"-1 {TRIANGLE}", r"a\.txt, line 2 begins with '-1', not with the number of a class"),
        (f"{'9' * 40} {TRIANGLE}", r"a\.txt, line 2 begins with '9+', not with the number of a class"),
        (f"2 {TRIANGLE}", r"a\.txt, line 2 is of class 2, which has no name; add it to the names of the data set$"),
        ("0", r"a\.txt, line 2 has 0 numbers after the class, not x and y of each corner; correct it$"),
        (f"0 {TRIANGLE} 0.9", r"a\.txt, line 2 has 7 numbers after the class"),
        (f"0 {TRIANGLE} 1 x", r"a\.txt, line 2 is 'x', not a number"),
        (f"0 {TRIANGLE} nan 1", r"a\.txt, line 2 is 'nan', not a number"),
        ("0 5 5 100 5 100 50", r"a\.txt, line 2 has the coordinate 100, not a fraction of a side; correct it$"),
    ],
)
def test_malformed_lines(tmp_path, line, sentence):
    save_text(tmp_path / "data.yaml", YAML)
    picture(tmp_path, "train/a", f"0 {TRIANGLE}\n{line}\n")
    with pytest.raises(UserError, match=sentence):
        read_annotations(tmp_path)


@pytest.mark.parametrize(
    ("yaml", "sentence"),
    [
        ("- a\n", r"data\.yaml is no description of a YOLO data set"),
        ("train: images/train\n", r"data\.yaml has no list of names in the field 'names'; add the names"),
        ("train: images/train\nnames: []\n", r"data\.yaml has no list of names in the field 'names'"),
        (
            "train: images/train\nnames: [cat, no]\n",
            r"data\.yaml has the class 1: False in 'names', not a number and a",
        ),
        ("train: images/train\nnames: {a: cat}\n", r"data\.yaml has the class 'a': cat|class a: cat"),
        ("train: images/train\nnames: [cat, cat]\n", r"data\.yaml has two classes called cat; rename one$"),
        ("train: 3\nnames: [cat]\n", r"data\.yaml has the bad value 3 in 'train'; name a folder$"),
        ("train: [[]]\nnames: [cat]\n", r"data\.yaml has the bad value \[\[\]\] in 'train'; name a folder$"),
    ],
)
def test_malformed_yaml(tmp_path, yaml, sentence):
    picture(tmp_path, "train/a", f"0 {TRIANGLE}")
    path = save_text(tmp_path / "data.yaml", yaml)
    with pytest.raises(UserError, match=sentence):
        read_annotations(path, format="yolo")


def test_what_is_no_split_in_a_yaml_file(tmp_path):
    picture(tmp_path, "train/a", f"0 {TRIANGLE}")
    text = "train: images/train\nval:\nlicense: CC BY/4.0\nnc: 1\nroboflow: {url: 'https://a/b'}\nnames: [cat]\n"
    save_text(tmp_path / "data.yaml", text)
    assert find_splits(tmp_path) == {"train": tmp_path / "images" / "train"}
    assert read_annotations(tmp_path).notes == ()


@pytest.mark.parametrize("place", ["x" * 5000, "images/\\0", "nowhere", "classes.txt"])
def test_places_that_do_not_exist(tmp_path, place):
    picture(tmp_path, "train/a", f"0 {TRIANGLE}")
    save_text(tmp_path / "data.yaml", f'train: images/train\nval: "{place}"\nnames: [cat]\n')
    assert list(find_splits(tmp_path)) == ["train"]
    assert read_annotations(tmp_path).notes[0].endswith("for val, which does not exist")


def test_yaml_file_of_another_data_set_above(tmp_path):
    picture(tmp_path / "mine", "a", f"0 {TRIANGLE}")
    save_text(tmp_path / "other.yaml", "train: elsewhere/images\nnames: [no]\n")
    assert names(read_annotations(tmp_path / "mine" / "images")) == [(1, "0")]


def test_labels_in_folders_without_a_picture(tmp_path):
    for name in ("train/a", "train/deep/a", "train/deep/b"):
        picture(tmp_path, name, f"0 {TRIANGLE}")
    save_text(tmp_path / "data.yaml", YAML)
    (tmp_path / "images" / "train" / "deep" / "b.png").unlink()
    with pytest.raises(UserError, match=r"^1 picture of .* is not in .*train \(deep/b\.jpg\); put"):
        read_annotations(tmp_path)


def test_several_yaml_files(tmp_path):
    picture(tmp_path, "train/a", f"0 {TRIANGLE}")
    for name in ("a.yaml", "b.yml"):
        save_text(tmp_path / name, YAML)
    with pytest.raises(UserError, match=r"has several descriptions of a data set \(a\.yaml, b\.yml\); name the one"):
        read_annotations(tmp_path)
    assert len(read_annotations(tmp_path / "b.yml").content["annotations"]) == 1
