"""The command line: one tiny model trained, scored, used and exported; and one line for everything that is wrong."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml
from command_line import error_line, run
from file_server import publishing
from PIL import Image
from pycocotools.coco import COCO

from keras_mrcnn.base.errors import MissingPackageError
from keras_mrcnn.cli import main, predict
from keras_mrcnn.cli.locations import PRESET_NAMES, split_files
from keras_mrcnn.cli.train import _data_settings
from keras_mrcnn.config import PRESETS, load_config, make_config, save_config
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.scenes.generator import generate_scenes
from keras_mrcnn.training import trainer
from keras_mrcnn.training.callbacks import NonFiniteLossError
from keras_mrcnn.training.checkpoint import Progress, read_progress
from keras_mrcnn.training.schedules import scaled_learning_rate
from keras_mrcnn.training.stage_lengths import resolve_lengths

ROOT = Path(__file__).resolve().parents[1]
MODEL = {
    "min_size": 64,
    "max_size": 96,
    "backbone": {"depth": 18, "width": 0.25, "norm": "bn", "freeze_stages": 0},
    "neck": {"channels": 16},
    "rpn": {"pre_nms_train": 50, "post_nms_train": 20, "pre_nms_test": 50, "post_nms_test": 20},
    "box_head": {"channels": 16, "samples": 16, "max_detections": 20},
    "mask_head": {"channels": 16, "convolutions": 1, "samples": 4},
}
STAGE = {"epochs": 1, "steps_per_epoch": 1, "learning_rate": 0.001}
SETTINGS = {
    "model": MODEL,
    "data": {"batch_size": 2, "mask_size": 28},
    "train": {"rpn": STAGE, "box": STAGE, "mask": STAGE, "validation_images": 0},
}


def usage_error(result):
    """The last line of click's message about wrong usage."""
    assert result.exit_code == 2, result.output
    return result.output.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "scenes"
    generate_scenes(folder, num_train=4, num_val=2, height_range=(96, 110), width_range=(96, 110), workers=1)
    return folder


@pytest.fixture(scope="module")
def settings_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("settings") / "tiny.yaml"
    path.write_text(yaml.safe_dump(SETTINGS), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def trained(scenes, settings_file, tmp_path_factory):
    """The folder of a finished run."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    result = run("train", "--config", settings_file, "--data", scenes, "--run", folder, "--seed", 5)
    assert result.exit_code == 0, result.output
    assert f"Wrote the trained model to {folder / 'model.safetensors'}.\n" in result.output
    # Into a file there are lines, not a bar; the tables are there all the same.
    assert "\b" not in result.output and "\r" not in result.output
    assert "1/1 - " in result.output and "AP50" in result.output
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A weight file with the scenes' classes that finds something everywhere, without training."""
    keras.utils.set_random_seed(1)
    classes = {"class_names": ["vehicle", "person", "animal"], "category_ids": [1, 2, 3]}
    tree = {**MODEL, **classes, "box_head": {"channels": 16, "score_threshold": 0.0, "max_detections": 5}}
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    MaskRCNN(make_config({"model": tree}).model).save_pretrained(path)
    return path


# Help and errors in general


DATA_COMMANDS = ("data scenes", "data check", "data prepare", "data show")


@pytest.mark.parametrize("command", ["", "data", *DATA_COMMANDS, "train", "evaluate", "predict", "export"])
def test_help(command):
    result = run(*command.split(), "--help")
    assert result.exit_code == 0 and "Usage: " in result.output


def test_module_is_the_command_line():
    done = subprocess.run([sys.executable, "-m", "keras_mrcnn", "--version"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "keras-mrcnn, version 0.1.0")


def test_usage_errors_have_exit_status_2():
    assert "No such command" in usage_error(run("train_"))
    assert "No such option" in usage_error(run("train", "--runn", "x"))


def test_debug_shows_where_an_error_came_up(scenes, tmp_path):
    arguments = ("train", "--preset", "scenes-small", "--data", scenes, "--run", tmp_path, "--set", "train.sead=1")
    assert error_line(run(*arguments)) == "--set: unknown key train.sead, did you mean train.seed?"
    assert "unknown key" in str(run("--debug", *arguments).exception)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (NonFiniteLossError("loss is not finite"), 1, "loss is not finite"),
        (FileExistsError("runs/x: holds a run already"), 1, "runs/x: holds a run already"),
        (MissingPackageError("LAMB comes from tensorflow-addons"), 1, "LAMB comes from tensorflow-addons"),
        (type("ResourceExhaustedError", (Exception,), {})("OOM"), 1, "the device has not enough memory"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_errors_of_a_training_are_one_line(monkeypatch, scenes, settings_file, tmp_path, error, code, line):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(trainer, "StagedTrainer", fail)
    result = run("train", "--config", settings_file, "--data", scenes, "--run", tmp_path / "run")
    assert error_line(result, code).startswith(line)


@pytest.mark.parametrize("fault", [TypeError("x"), ValueError("x"), RuntimeError("x"), ImportError("x")])
def test_faults_in_the_program_are_not_hidden(monkeypatch, scenes, settings_file, tmp_path, fault):
    def fail(*args, **kwargs):
        raise fault

    monkeypatch.setattr(trainer, "StagedTrainer", fail)
    result = run("train", "--config", settings_file, "--data", scenes, "--run", tmp_path / "run")
    assert result.exception is fault


def test_interrupted_training_says_how_to_go_on(monkeypatch, settings_file, scenes, tmp_path):
    def fail(*args, **kwargs):
        (tmp_path / "checkpoint.safetensors").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "StagedTrainer", fail)
    result = run("train", "--config", settings_file, "--data", scenes, "--run", tmp_path)
    command = f"keras-mrcnn train --resume --run {tmp_path}"
    assert error_line(result, 130) == f"interrupted; go on from the last epoch with: {command}"


def test_interrupted_bar_ends_its_line(monkeypatch, settings_file, scenes, tmp_path, capsys):
    def fail(*args, verbose, **kwargs):
        assert verbose == 1
        print("1/9 [====>", end="")
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "StagedTrainer", fail)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    arguments = ["train", "--config", settings_file, "--data", scenes, "--run", tmp_path]
    with pytest.raises(SystemExit, match="130"):
        main([str(argument) for argument in arguments])
    assert capsys.readouterr() == ("1/9 [====>\n", "keras-mrcnn: interrupted\n")


# Help that lists what there is


def test_help_lists_the_presets():
    assert sorted(PRESETS) == PRESET_NAMES.split(", ")
    for command in (("train",), ("data", "show")):
        text = "".join(run(*command, "--help").output.split())  # lines break at hyphens, too
        assert PRESET_NAMES.replace(" ", "") in text


def test_help_says_where_the_batch_size_comes_from():
    assert all("data.eval_batch_size" in run(command, "--help").output for command in ("evaluate", "report"))


# Presets


@pytest.mark.parametrize("name", PRESETS)
def test_preset_is_valid_and_begins_with_its_command_time_and_score(name):
    load_config(name)
    text = (ROOT / "keras_mrcnn" / "presets" / f"{name}.yaml").read_text("utf-8")
    head = text[: text.index("\nmodel:")]
    assert all(line.startswith("#") for line in head.strip().splitlines())
    for part in (f"keras-mrcnn train --preset {name} ", "Expected time", "Expected score"):
        assert part in head


def test_coco_presets_differ_in_depth_alone():
    small, large = load_config("coco-r50-fpn").model_dump(), load_config("coco-r101-fpn").model_dump()
    assert (small["model"]["backbone"].pop("depth"), large["model"]["backbone"].pop("depth")) == (50, 101)
    assert small == large


def test_coco_preset_is_the_1x_schedule_on_coco():
    config = resolve_lengths(load_config("coco-r50-fpn"), num_images=117_266)
    for stage in (config.train.rpn, config.train.box, config.train.mask):
        assert scaled_learning_rate(stage, config.data.batch_size) == 0.0025
        # Divided by ten after epochs 8 and 11 of 12.
        assert (stage.epochs, stage.warmup_steps) == (12, 500)
        assert [round(share * stage.epochs) for share in stage.milestones] == [8, 11]


def test_rates_of_the_presets_for_their_batches():
    train = load_config("scenes-small").train
    rates = [scaled_learning_rate(getattr(train, stage), 8) for stage in ("rpn", "box", "mask", "joint")]
    assert np.float32(rates).tolist() == np.float32([0.003, 0.002, 0.002, 0.003]).tolist()


def test_vehicle_person_animal_preset_is_that_of_photographs_with_classes_by_name():
    config = load_config("photographs", ("data.class_names=[vehicle, person, animal]",))
    assert load_config("vehicle-person-animal") == config


# keras-mrcnn data


def test_scenes_are_drawn_once_and_replaced_only_on_request(tmp_path):
    arguments = ("data", "scenes", tmp_path / "scenes", "--train", 1, "--val", 1)
    assert "Wrote the scenes" in run(*arguments).output
    assert "nothing was drawn" in run(*arguments).output
    assert "--seed 0 (asked for: 1)" in error_line(run(*arguments, "--seed", 1))
    assert "Wrote the scenes" in run(*arguments, "--seed", 1, "--overwrite").output
    assert "is not in the range" in usage_error(run(*arguments, "--seed", -1))


def test_check_of_a_good_folder_counts(scenes):
    result = run("data", "check", scenes)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    objects = len(json.loads((scenes / "annotations" / "train.json").read_text())["annotations"])
    assert lines[0] == f"{scenes / 'annotations' / 'train.json'}: no problems: 4 images, {objects} objects, 3 classes"
    assert "val.json: no problems: 2 images, " in lines[1] and len(lines) == 2


def test_check_of_one_file_finds_its_images(scenes, tmp_path):
    folder = tmp_path / "set"
    (folder / "annotations").mkdir(parents=True)
    annotations = shutil.copy(scenes / "annotations" / "val.json", folder / "annotations" / "instances_val.json")
    assert usage_error(run("data", "check", annotations)).endswith("name the folder with --images")
    assert run("data", "check", annotations, "--images", scenes / "images" / "val").exit_code == 0
    shutil.copytree(scenes / "images" / "val", folder / "images" / "val")
    assert run("data", "check", annotations).exit_code == 0


def test_check_lists_problems_and_counts_them(scenes, tmp_path):
    folder = shutil.copytree(scenes, tmp_path / "set")
    (folder / "images" / "val" / "000001.jpg").unlink()
    (folder / "images" / "val" / "000002.jpg").write_text("no image")
    result = run("data", "check", folder)
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert "no problems: 4 images" in lines[0]
    assert lines[1].startswith("000001.jpg: ") and lines[2].startswith("000002.jpg: ")
    assert lines[3].startswith(f"{folder / 'annotations' / 'val.json'}: 2 problems (1 ")


def test_check_needs_annotations(tmp_path):
    assert "has no annotations/*.json" in usage_error(run("data", "check", tmp_path))
    assert "does not exist" in usage_error(run("data", "check", tmp_path / "nowhere"))


# keras-mrcnn train


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "either --config FILE or --preset NAME"),
        (("--config", "SETTINGS", "--preset", "scenes-small"), "either --config FILE or --preset NAME"),
        (("--preset", "scenes-big"), "there is no scenes-big; choose one of scenes-small"),
        (("--preset", "scenes-small"), "where are the data?"),
        (("--config", "nowhere.yaml"), "does not exist"),
        (("--resume",), "holds no run to resume"),
        (("--resume", "--preset", "scenes-small"), "leave --config and --preset out"),
        (("--preset", "scenes-small", "--minutes", "0"), "Invalid value for '--minutes': 0"),
    ],
)
def test_train_says_what_is_missing(settings_file, tmp_path, arguments, message):
    arguments = [settings_file if argument == "SETTINGS" else argument for argument in arguments]
    assert message in usage_error(run("train", "--run", tmp_path / "run", *arguments))
    assert not (tmp_path / "run").exists()


def test_train_wants_a_data_folder_of_the_known_form(tmp_path):
    result = run("train", "--preset", "scenes-small", "--run", tmp_path / "run", "--data", tmp_path)
    assert "has no annotations/train.json" in usage_error(result)


def test_train_takes_annotations_with_the_names_of_coco(tmp_path):
    (tmp_path / "annotations").mkdir()
    for split in ("train", "val"):
        (tmp_path / "annotations" / f"instances_{split}.json").touch()
        files = tmp_path / "annotations" / f"instances_{split}.json", tmp_path / "images" / split
        assert split_files(tmp_path, split) == files
    (tmp_path / "annotations" / "val.json").touch()
    assert split_files(tmp_path, "val")[0].name == "val.json"


def test_data_folder_may_have_any_name(tmp_path):
    folder = tmp_path / "my: #1 {data}"
    (folder / "annotations").mkdir(parents=True)
    (folder / "annotations" / "train.json").touch()
    (folder / "annotations" / "val.json").touch()
    data = load_config("scenes-small", tuple(_data_settings(folder))).data
    assert data.train_annotations == str(folder / "annotations" / "train.json")
    assert data.val_images == str(folder / "images" / "val")


def test_data_folder_without_validation_data_is_said(tmp_path, capsys):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "train.json").touch()
    assert len(_data_settings(tmp_path)) == 2
    assert "no annotations/val.json, so the stages are not scored" in capsys.readouterr().err


def test_train_lists_bad_data_and_stops(scenes, settings_file, tmp_path):
    folder = shutil.copytree(scenes, tmp_path / "set")
    (folder / "images" / "train" / "000003.jpg").unlink()
    result = run("train", "--config", settings_file, "--data", folder, "--run", tmp_path / "run")
    assert result.exit_code == 1
    first, second = result.output.strip().splitlines()
    assert first.startswith("keras-mrcnn: ") and "1 problems" in first and "--skip-bad" in first
    assert second.startswith("000003.jpg: ")


def test_train_and_evaluate_on_prepared_data(trained, scenes, settings_file, tmp_path):
    """The same scores as on the files, which need not be there any more."""
    source = shutil.copytree(scenes, tmp_path / "scenes")
    prepared = tmp_path / "prepared"
    result = run("data", "prepare", source, prepared, "--mask-size", 28)
    assert result.exit_code == 0, result.output
    shutil.rmtree(source)
    folder = tmp_path / "runs" / "run"
    only_rpn = ("--set", "train.box.epochs=0", "--set", "train.mask.epochs=0")
    result = run("train", "--config", settings_file, "--data", prepared, "--run", folder, "--seed", 5, *only_rpn)
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "runs" / "prepared").exists()
    data = load_config(folder / "config.yaml").data
    assert (data.train_annotations, data.train_images) == (str(prepared / "train"), None)
    first, second = (json.loads((run_folder / "metrics.json").read_text()) for run_folder in (trained, folder))
    assert first["rpn"] == second["rpn"]
    scores = tmp_path / "scores.json"
    weights = trained / "model.safetensors"
    result = run("evaluate", weights, "--data", prepared, "--stages", "box", "--json", scores)
    assert result.exit_code == 0, result.output
    assert json.loads(scores.read_text())["box"] == first["box"]


def test_train_prepares_the_data_beside_the_run_and_says_no_more_of_it(trained):
    folders = list((trained.parent / "prepared").iterdir())
    assert sorted(path.name.rpartition("-")[0] for path in folders) == ["train", "val"]


def test_train_writes_a_run(trained):
    names = {path.name for path in trained.iterdir()}
    assert {"config.yaml", "checkpoint.safetensors", "metrics.json", "model.safetensors", "logs"} <= names
    config = load_config(trained / "config.yaml")
    assert config.train.seed == 5
    assert config.model.class_names == ("vehicle", "person", "animal")
    assert set(json.loads((trained / "metrics.json").read_text())) >= {"rpn", "box", "mask"}


def test_train_leaves_a_run_alone(trained, scenes, settings_file):
    before = (trained / "model.safetensors").read_bytes()
    result = run("train", "--config", settings_file, "--data", scenes, "--run", trained)
    assert "holds a run already" in error_line(result)
    assert (trained / "model.safetensors").read_bytes() == before


def test_resume_goes_on_with_the_settings_of_the_run(trained, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "run")
    assert read_progress(folder / "checkpoint.safetensors") == Progress("mask", 1)
    result = run("train", "--run", folder, "--resume", "--set", "train.mask.epochs=2", "--skip-bad")
    assert result.exit_code == 0, result.output
    assert "Epoch 2/2" in result.output and "rpn stage" not in result.output
    assert read_progress(folder / "checkpoint.safetensors") == Progress("mask", 2)
    config = load_config(folder / "config.yaml")
    assert config.train.seed == 5 and config.data.skip_bad


# keras-mrcnn evaluate


def test_evaluate_scores_a_run_on_its_own_validation_data(trained, tmp_path):
    metrics, results = tmp_path / "new" / "metrics.json", tmp_path / "other" / "results.json"
    result = run("evaluate", trained, "--json", metrics, "--results", results)
    assert result.exit_code == 0, result.output
    for word in ("RPN", "positive accuracy", "AR1000", "box", "mask", "AP50", "AP of each class", "vehicle"):
        assert word in result.output
    scores = json.loads(metrics.read_text())
    assert set(scores) == {"rpn", "box", "mask"}
    trainers = json.loads((trained / "metrics.json").read_text())
    assert scores["box"]["AP"] == pytest.approx(trainers["box"]["AP"], abs=1e-6)
    assert scores["rpn"]["accuracy"] == pytest.approx(trainers["rpn"]["accuracy"], abs=1e-6)
    assert isinstance(json.loads(results.read_text()), list)


def test_evaluate_scores_the_chosen_stages_on_the_named_data(weights, scenes, tmp_path):
    annotations, images = scenes / "annotations" / "train.json", scenes / "images" / "train"
    metrics, results = tmp_path / "metrics.json", tmp_path / "results.json"
    arguments = ("--weights", weights, "--annotations", annotations, "--images", images, "--batch-size", 4)
    result = run("evaluate", *arguments, "--stages", "box", "--json", metrics, "--results", results)
    assert result.exit_code == 0, result.output
    assert set(json.loads(metrics.read_text())) == {"box"}
    found = COCO(str(annotations)).loadRes(str(results))
    assert {found.anns[i]["image_id"] for i in found.anns} == {1, 2, 3, 4}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "on which data?"),
        (("--data", "SCENES", "--images", "SCENES"), "either --data, or --annotations and --images"),
        (("--images", "SCENES"), "go together"),
        (("--data", "SCENES", "--stages", "box,masks"), "'box,masks': name one or more of rpn, box, mask"),
        (("--data", "SCENES", "--stages", ","), "name one or more of"),
        (("--data", "SCENES", "--stages", "rpn", "--results", "r.json"), "score box or mask too"),
    ],
)
def test_evaluate_says_what_is_missing(weights, scenes, arguments, message):
    arguments = [scenes if argument == "SCENES" else argument for argument in arguments]
    assert message in usage_error(run("evaluate", "--weights", weights, *arguments))


@pytest.mark.parametrize(("option", "used"), [((), 7), (("--batch-size", 3), 3)])
def test_evaluate_takes_the_batch_size_of_the_run(trained, monkeypatch, tmp_path, option, used):
    folder, sizes = shutil.copytree(trained, tmp_path / "run"), []
    save_config(load_config(folder / "config.yaml", ("data.eval_batch_size=7",)), folder / "config.yaml")

    def evaluation(model, dataset, stages, batch_size):
        sizes.append(batch_size)
        return {"box": {"AP50": 0.0}}, []

    monkeypatch.setattr("keras_mrcnn.evaluation.evaluator.evaluate_model", evaluation)
    assert run("evaluate", folder, *option).exit_code == 0
    data = load_config(folder / "config.yaml").data
    files = ("--annotations", data.val_annotations, "--images", data.val_images)
    assert run("evaluate", folder / "model.safetensors", *files, *option).exit_code == 0
    assert sizes == [used, 3 if option else 1]


def test_evaluate_wants_a_data_folder_of_a_known_form(weights, scenes, tmp_path):
    message = "has no annotations/val.json; name the files with --annotations FILE --images FOLDER"
    assert usage_error(run("evaluate", weights, "--data", tmp_path)).endswith(f"{tmp_path}: {message}")
    shutil.copytree(scenes / "images" / "val", tmp_path / "images" / "val")
    (tmp_path / "annotations").mkdir()
    shutil.copy(scenes / "annotations" / "val.json", tmp_path / "annotations" / "instances_val.json")
    result = run("evaluate", weights, "--data", tmp_path, "--stages", "rpn")
    assert result.exit_code == 0, result.output


def test_evaluate_takes_one_model(weights, scenes):
    assert "name one weight file" in usage_error(run("evaluate", "--data", scenes))
    assert "name one weight file" in usage_error(run("evaluate", weights, "--weights", weights, "--data", scenes))


def test_evaluate_scores_the_classes_that_model_and_data_have_both(weights, scenes, tmp_path):
    content = json.loads((scenes / "annotations" / "val.json").read_text())
    for annotation in content["annotations"]:
        annotation["category_id"] += 10
    annotations, results = tmp_path / "changed.json", tmp_path / "results.json"
    data = ("--annotations", annotations, "--images", scenes / "images" / "val", "--stages", "box")

    def evaluate(*names):
        """The model knows vehicle, person and animal, 1 to 3; the data have these classes, 11 to 13."""
        categories = [{"id": number, "name": name} for number, name in zip((11, 12, 13), names)]
        annotations.write_text(json.dumps({**content, "categories": categories}))
        return run("evaluate", "--weights", weights, *data, "--results", results)

    result = evaluate("animal", "human", "vehicle")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert "The model does not know 1 classes, which are not scored: human." in lines
    assert "The data do not have 1 classes, which are not scored: person." in lines
    found = {found["category_id"] for found in json.loads(results.read_text())}
    assert found and found <= {11, 13}
    assert "not scored" not in evaluate("animal", "person", "vehicle").output
    assert "has the classes house, human, tree, the model vehicle, person, animal" in error_line(
        evaluate("house", "human", "tree")
    )
    annotations.write_text(json.dumps({**content, "images": [], "annotations": []}))
    assert "has no images to evaluate on" in error_line(run("evaluate", "--weights", weights, *data))


def test_evaluate_names_a_file_that_cannot_be_read(weights, scenes, tmp_path):
    images = shutil.copytree(scenes / "images" / "val", tmp_path / "images")
    (images / "000002.jpg").unlink()
    annotations = scenes / "annotations" / "val.json"
    result = run("evaluate", "--weights", weights, "--annotations", annotations, "--images", images, "--stages", "box")
    assert result.exit_code == 1
    assert "000002.jpg does not exist" in result.output.strip().splitlines()[-1]


def test_weights_of_an_unfinished_run_or_of_no_kind(scenes, tmp_path):
    (tmp_path / "rpn.safetensors").touch()
    (tmp_path / "checkpoint.safetensors").touch()
    line = error_line(run("evaluate", "--weights", tmp_path, "--data", scenes))
    assert "training is not finished; it has rpn.safetensors, which can be named instead" in line
    line = error_line(run("evaluate", "--weights", tmp_path / "rpn.safetensors", "--data", scenes))
    assert "not a whole safetensors file" in line


# keras-mrcnn predict


def test_predict_writes_results_and_pictures(weights, scenes, tmp_path):
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    shutil.copy(scenes / "images" / "val" / "000001.jpg", folder / "a.jpg")
    Image.new("L", (30, 50), 200).save(folder / "more" / "b.bmp")
    (folder / "notes.txt").write_text("no image, and not asked for")
    single = shutil.copy(scenes / "images" / "val" / "000002.jpg", tmp_path / "a.jpg")
    out = tmp_path / "out"
    result = run("predict", weights, folder, single, single, "--out", out, "--min-score", 0)
    assert result.exit_code == 0, result.output
    assert f"detections in 3 images to {out}." in result.output
    images = json.loads((out / "images.json").read_text())["images"]
    assert [(image["id"], image["file_name"]) for image in images] == [
        (1, str(folder / "a.jpg")), (2, str(folder / "more" / "b.bmp")), (3, str(single)),
    ]  # fmt: skip
    assert (images[1]["height"], images[1]["width"]) == (50, 30)
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*") if path.suffix != ".json") == [
        "a.jpg", "a_2.jpg", "more/b.bmp.png",
    ]  # fmt: skip
    found = COCO(str(out / "images.json")).loadRes(str(out / "detections.json"))
    assert len(found.anns) == 15  # the model gives five an image, whatever it sees
    assert found.annToMask(found.loadAnns(found.getAnnIds(imgIds=[2]))[0]).shape == (50, 30)
    drawn = np.asarray(Image.open(out / "more" / "b.bmp.png"))
    assert drawn.shape == (50, 30, 3) and (drawn != 200).any()


def test_predict_takes_the_name_of_published_weights(weights, scenes, tmp_path, monkeypatch):
    image, out = scenes / "images" / "val" / "000001.jpg", tmp_path / "out"
    with publishing("maskrcnn_resnet50_fpn_v2_coco", weights, monkeypatch, tmp_path / "keras") as server:
        server.faults = ["404"]
        line = error_line(run("predict", "maskrcnn_resnet50_fpn_v2_coco", image, "--out", out))
        path = tmp_path / "keras" / "models" / "maskrcnn_resnet50_fpn_v2_coco-12345678.safetensors"
        assert line.endswith(f"where there is a network, and save it as {path}") and not out.exists()
        result = run("predict", "maskrcnn_resnet50_fpn_v2_coco", image, "--out", out, "--min-score", 0)
    assert result.exit_code == 0, result.output
    assert result.output == f"Wrote 5 detections in 1 images to {out}.\n" and path.read_bytes() == weights.read_bytes()


def test_predict_does_the_others_and_names_what_it_cannot_read(weights, scenes, tmp_path):
    good = scenes / "images" / "val" / "000001.jpg"
    (tmp_path / "torn.jpg").write_bytes(good.read_bytes()[:500])
    result = run("predict", weights, tmp_path / "torn.jpg", good, ROOT / "setup.cfg", "--out", tmp_path / "out")
    assert result.exit_code == 1
    lines = result.output.strip().splitlines()
    assert "in 1 images" in lines[0]
    assert lines[1] == "keras-mrcnn: 2 of 3 files could not be read:"
    assert "torn.jpg" in lines[2] and "setup.cfg" in lines[3] and len(lines) == 4
    assert {result["image_id"] for result in json.loads((tmp_path / "out" / "detections.json").read_text())} == {2}
    assert (tmp_path / "out" / "000001.jpg").is_file()


def test_predict_says_what_it_replaced(weights, scenes, tmp_path):
    first, second = (scenes / "images" / "val" / name for name in ("000001.jpg", "000002.jpg"))
    out = tmp_path / "out"
    assert "Replaced" not in run("predict", weights, first, "--out", out).output
    (out / "notes.txt").touch()
    last = run("predict", weights, second, "--out", out).output.splitlines()[-1]
    assert last == f"Replaced detections.json, images.json that {out} held already; its other files stay."
    last = run("predict", weights, second, "--out", out).output.splitlines()[-1]
    assert last == f"Replaced detections.json, images.json, 1 picture that {out} held already; its other files stay."
    assert (out / "000001.jpg").is_file() and (out / "notes.txt").is_file()


def test_predict_looks_for_the_images_first(tmp_path, scenes):
    (tmp_path / "no_model.safetensors").touch()
    arguments = (tmp_path / "no_model.safetensors", scenes / "images" / "val", tmp_path / "nix.jpg")
    message = usage_error(run("predict", *arguments, "--out", tmp_path / "out"))
    assert "nix.jpg" in message and message.endswith("does not exist.") and not (tmp_path / "out").exists()


def test_predict_uses_the_ids_of_an_annotation_file(weights, scenes, tmp_path):
    content = json.loads((scenes / "annotations" / "val.json").read_text())
    for image, new_id in zip(content["images"], (70, 30)):
        image.update(id=new_id, file_name=f"val/{image['file_name']}")
    annotations = tmp_path / "ids.json"
    annotations.write_text(json.dumps({**content, "annotations": []}))
    out = tmp_path / "out"
    result = run("predict", weights, scenes / "images" / "val", "--annotations", annotations, "--out", out)
    assert result.exit_code == 0, result.output
    assert {result["image_id"] for result in json.loads((out / "detections.json").read_text())} == {30, 70}
    names = [(image["id"], image["file_name"]) for image in json.loads((out / "images.json").read_text())["images"]]
    assert names == [(70, "val/000001.jpg"), (30, "val/000002.jpg")]
    others = scenes / "images" / "train" / "000004.jpg"
    result = run("predict", weights, others, "--annotations", annotations, "--out", out)
    assert "has no image with the file name 000004.jpg" in error_line(result)
    both = (scenes / "images" / "train" / "000001.jpg", scenes / "images" / "val" / "000001.jpg")
    result = run("predict", weights, *both, "--annotations", annotations, "--out", out)
    assert "are both val/000001.jpg of" in error_line(result)


def test_predict_never_draws_over_its_input(weights, scenes, tmp_path):
    folder = shutil.copytree(scenes / "images" / "val", tmp_path / "photos")
    before = (folder / "000001.jpg").read_bytes()
    assert "would be drawn over" in usage_error(run("predict", weights, folder, "--out", folder))
    assert "would be drawn over" in usage_error(run("predict", weights, folder / "000001.jpg", "--out", folder))
    assert (folder / "000001.jpg").read_bytes() == before


def test_predict_leaves_out_what_it_drew_before(tmp_path):
    for name in ("a.png", "out/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    jobs = sys.modules["keras_mrcnn.cli.predict"]._jobs([tmp_path], tmp_path / "out", None)
    assert [(job.path, job.picture) for job in jobs] == [(tmp_path / "a.png", tmp_path / "out" / "a.png")]


def test_predict_needs_images(weights, tmp_path):
    assert "has no images" in usage_error(run("predict", weights, tmp_path, "--out", tmp_path / "out"))
    assert "Missing argument" in usage_error(run("predict", weights, "--out", tmp_path / "out"))
    assert predict.name == "predict"
