"""Generated data sets: written whole, once, the same again, in COCO format, and never over other data."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from keras_mrcnn.scenes.generator import draw_scene, generate_scenes


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A small data set drawn in this process, with what its progress callable was told."""
    steps = []
    result = generate_scenes(
        tmp_path_factory.mktemp("scenes") / "new",
        num_train=4,
        num_val=3,
        seed=3,
        workers=1,
        progress=lambda done, total: steps.append((done, total)),
    )
    return result, steps


def _files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _box(mask):
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]


def test_written_annotations_match_the_drawn_objects(made):
    result, steps = made
    assert result.created and "Wrote" in str(result)
    assert steps == [(done, 7) for done in range(1, 8)]
    for number, split in enumerate(["train", "val"]):
        coco = COCO(str(result.annotation_files[split]))
        assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == ["vehicle", "person", "animal"]
        for index, record in enumerate(coco.loadImgs(sorted(coco.getImgIds()))):
            image, objects = draw_scene(np.random.default_rng([3, number, index]))
            assert (record["height"], record["width"]) == image.shape[:2]
            with Image.open(result.image_folders[split] / record["file_name"]) as picture:
                stored = np.asarray(picture, np.float32)
            assert np.abs(stored - image).mean() < 4
            annotations = coco.loadAnns(coco.getAnnIds(record["id"]))
            assert len(annotations) == len(objects)
            for annotation, item in zip(annotations, objects):
                np.testing.assert_array_equal(coco_mask.decode(annotation["segmentation"]), item.mask)
                assert annotation["area"] == item.mask.sum()
                assert annotation["bbox"] == _box(item.mask)
                assert annotation["iscrowd"] == 0
                assert coco.cats[annotation["category_id"]]["name"] == item.category
                assert annotation["subtype"] == item.subtype
                assert annotation["hidden"] == pytest.approx(item.hidden, abs=1e-4)


def test_annotation_ids_are_unique(made):
    for path in made[0].annotation_files.values():
        ids = [annotation["id"] for annotation in json.loads(path.read_text())["annotations"]]
        assert ids == list(range(1, len(ids) + 1))


def test_training_and_validation_scenes_differ(made):
    pictures = [path.read_bytes() for folder in made[0].image_folders.values() for path in folder.iterdir()]
    assert len(pictures) == 7 and len(set(pictures)) == 7


def test_scenes_do_not_depend_on_workers_or_number(made, tmp_path):
    """Two worker processes, more training and fewer validation scenes: the shared ones are the same bytes."""
    generate_scenes(tmp_path / "two", num_train=6, num_val=2, seed=3, workers=2)
    one, two = _files(made[0].folder), _files(tmp_path / "two")
    shared = [name for name in one if name in two and name.endswith(".jpg")]
    assert len(shared) == 6 and len(two) == 10
    assert all(one[name] == two[name] for name in shared)
    first, second = (json.loads(files["annotations/train.json"])["annotations"] for files in (one, two))
    assert first == second[: len(first)]


def _run_python(code):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run([sys.executable, "-"], input=code, env=environment, capture_output=True, text=True)


def test_worker_processes_do_not_import_tensorflow():
    code = "import sys, keras_mrcnn.scenes.generator; sys.exit('tensorflow' in sys.modules)"
    assert _run_python(code).returncode == 0


def test_workers_that_cannot_start_are_explained(tmp_path):
    """A program read from standard input cannot be imported by a spawned process."""
    call = f"generate_scenes({str(tmp_path)!r}, num_train=1, num_val=1, workers=2)"
    run = _run_python(f"from keras_mrcnn.scenes.generator import generate_scenes\n{call}\n")
    assert run.returncode != 0
    assert "UserError: The drawing processes did not start" in run.stderr and "pass workers=1" in run.stderr


def test_same_parameters_draw_nothing_again(made):
    before = _files(made[0].folder)
    times = {path: path.stat().st_mtime_ns for path in made[0].folder.rglob("*")}
    again = generate_scenes(made[0].folder, num_train=4, num_val=3, seed=3)
    assert not again.created and "nothing was drawn" in str(again)
    assert again.annotation_files == made[0].annotation_files
    assert _files(made[0].folder) == before
    assert {path: path.stat().st_mtime_ns for path in made[0].folder.rglob("*")} == times


def test_other_parameters_are_refused_unless_overwriting(tmp_path):
    generate_scenes(tmp_path, num_train=2, num_val=1, workers=1)
    told = r"made with --seed 0 \(asked for: 5\), --train 2 \(asked for: 1\): .* with --overwrite"
    with pytest.raises(FileExistsError, match=told):
        generate_scenes(tmp_path, num_train=1, num_val=1, seed=5, workers=1)
    made = generate_scenes(tmp_path, num_train=1, num_val=1, seed=5, workers=1, overwrite=True)
    assert made.created
    assert sorted(_files(tmp_path)) == [
        "annotations/train.json",
        "annotations/val.json",
        "images/train/000001.jpg",
        "images/val/000001.jpg",
    ]


def test_a_missing_annotation_file_is_named(tmp_path):
    made = generate_scenes(tmp_path, num_train=1, num_val=1, workers=1)
    made.annotation_files["val"].unlink()
    with pytest.raises(FileExistsError, match="an annotation file is missing"):
        generate_scenes(tmp_path, num_train=1, num_val=1, workers=1)


@pytest.mark.parametrize("content", [None, "no json", "[1, 2]", '{"images": []}', '{"info": {"year": 2017}}'])
def test_foreign_data_is_never_replaced(tmp_path, content):
    (tmp_path / "images" / "train").mkdir(parents=True)
    photograph = tmp_path / "images" / "train" / "000001.jpg"
    photograph.write_bytes(b"mine")
    if content is not None:
        (tmp_path / "annotations").mkdir()
        (tmp_path / "annotations" / "train.json").write_text(content)
    with pytest.raises(FileExistsError, match="not generated scenes"):
        generate_scenes(tmp_path, num_train=1, num_val=1, workers=1, overwrite=True)
    assert photograph.read_bytes() == b"mine"


def test_an_interrupted_run_is_no_data_set_and_is_drawn_anew(tmp_path):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_scenes(tmp_path, num_train=2, num_val=1, workers=1, progress=stop)
    assert not list(tmp_path.rglob("train.json")) and not list(tmp_path.rglob("val.json"))
    assert generate_scenes(tmp_path, num_train=1, num_val=1, workers=1).created
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "000001.jpg",
        "000001.jpg",
        "train.json",
        "val.json",
    ]


def test_progress_bar_is_advanced(tmp_path):
    class Bar:
        count = 0

        def update(self, number):
            self.count += number

    bar = Bar()
    generate_scenes(tmp_path, num_train=2, num_val=1, workers=1, progress=bar)
    assert bar.count == 3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_train": 0}, "num_train is 0: give a whole number of at least 1"),
        ({"num_val": 1.5}, "num_val is 1.5"),
        ({"seed": -1}, "seed is -1: give a whole number of at least 0"),
        ({"workers": -2}, "workers is -2"),
        ({"height_range": (300, 200)}, "height_range is"),
        ({"width_range": (32, 64)}, "both at least 64"),
        ({"width_range": (100,)}, "give two whole numbers"),
    ],
)
def test_senseless_parameters_are_named(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        generate_scenes(tmp_path / "none", **{"num_train": 1, "num_val": 1, **wrong})
    assert not (tmp_path / "none").exists()
