"""Settings: presets, overrides, round trips, and refusals that name the key."""

from __future__ import annotations

import pytest

from keras_mrcnn.config import (
    PRESETS,
    Config,
    ConfigError,
    ModelConfig,
    load_config,
    make_config,
    save_config,
)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_load_and_come_back_equal(name, tmp_path):
    config = load_config(name)
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config
    assert config != Config(), "a preset that says nothing is no preset"


def test_presets_are_what_their_names_say():
    assert load_config("coco-r50-fpn").model.backbone.depth == 50
    assert load_config("coco-r101-fpn").model.backbone.depth == 101


def test_defaults_are_torchvisions():
    model = Config().model
    assert model.anchor_sizes == ((32,), (64,), (128,), (256,), (512,))
    assert (model.rpn.pre_nms_train, model.rpn.post_nms_train) == (2000, 2000)
    assert (model.rpn.pre_nms_test, model.rpn.post_nms_test) == (1000, 1000)
    assert (model.rpn.samples, model.rpn.positive_fraction, model.rpn.nms_iou) == (256, 0.5, 0.7)
    assert (model.box_head.samples, model.box_head.positive_fraction) == (512, 0.25)
    assert (model.box_head.score_threshold, model.box_head.nms_iou, model.box_head.max_detections) == (0.05, 0.5, 100)
    assert (model.min_size, model.max_size, model.backbone.norm_epsilon) == (800, 1333, 1e-5)


def test_override_changes_one_of_several_groups_with_the_same_anchor(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("train:\n  rpn: &stage {epochs: 5}\n  box: *stage\n  mask: *stage\n", encoding="utf-8")
    train = load_config(file, ("train.box.epochs=0",)).train
    assert (train.rpn.epochs, train.box.epochs, train.mask.epochs) == (5, 0, 5)


def test_anchor_sizes_follow_the_neck():
    assert ModelConfig(neck={"kind": "c4"}).anchor_sizes == ((128, 256, 512),)
    assert ModelConfig(neck={"kind": "c4"}, rpn={"anchor_sizes": [[8, 16]]}).anchor_sizes == ((8, 16),)


def test_overrides():
    changes = ("train.seed=7", "model.backbone.depth=18", "data.flip=0", "model.class_names=[cat, dog]")
    config = load_config("scenes-small", changes)
    assert config.train.seed == 7 and config.model.backbone.depth == 18
    assert config.data.flip == 0.0 and config.model.class_names == ("cat", "dog")
    assert load_config("scenes-small", ("model.backbone.weights=null",)).model.backbone.weights is None


def test_later_overrides_win(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("train: {seed: 1}\n")
    assert load_config(path).train.seed == 1
    assert load_config(path, ("train.seed=2", "train.seed=3")).train.seed == 3


def test_an_empty_file_gives_the_defaults(tmp_path):
    path = tmp_path / "empty.yaml"
    path.write_text("")
    assert load_config(path) == Config()


def test_saving_replaces_the_file_whole(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("x" * 10_000)
    save_config(Config(), path)
    assert load_config(path) == Config()
    assert [file.name for file in tmp_path.iterdir()] == ["config.yaml"]


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Config().train.seed = 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.backbone.dept=18", "unknown key model.backbone.dept"),
        ("network.backbone.depth=18", "unknown key network"),
        ("model.backbone.depth=19", "model.backbone.depth: .*19"),
        ("model.backbone.norm=batch", "model.backbone.norm: .*'batch'"),
        ("model.rpn.negative_iou=0.9", "model.rpn: .*negative_iou 0.9 must not exceed positive_iou 0.7"),
        ("model.rpn.nms_iou=1.5", "model.rpn.nms_iou: .*1.5"),
        ("model.rpn.samples=0", "model.rpn.samples: .*0"),
        ("train.box.learning_rate=.inf", "train.box.learning_rate: .*finite"),
        ("model.rpn.aspect_ratios=[]", "model.rpn.aspect_ratios"),
        ("model.rpn.anchor_sizes=[[8], [16]]", "anchor_sizes has 2 levels, neck fpn has 5"),
        ("model.rpn.anchor_sizes=[[8], [16, 24], [32], [64], [96]]", "as many sizes on every level"),
        ("model.rpn.anchor_sizes=[[], [], [], [], []]", "as many sizes on every level, at least one"),
        ("model.max_size=100", "max_size 100 must be at least min_size"),
        ("model.class_names=[a, a]", "class_names must differ"),
        ("model.category_ids=[1, 2]", "2 category_ids do not fit 0 class_names"),
        ("data.batch_size=0", "data.batch_size: .*0"),
        ("data.flip=2", "data.flip: .*2"),
        ("data.scale_jitter=[2, 1]", "scale_jitter must be .low, high."),
        ("train.rpn.milestones=[0.9, 0.5]", "milestones must be rising"),
        ("train.rpn.learning_rate=fast", "train.rpn.learning_rate: .*'fast'"),
        ("train.rpn.optimizer=rprop", "train.rpn.optimizer: .*'rprop'"),
        ("train.seed=-1", "train.seed: .*-1"),
        ("train.seed", "write it as key=value"),
        ("=3", "write it as key=value"),
        ("train.seed.deep=3", "seed is a value, not a group"),
        ("train.seed=[1", "not a YAML value"),
    ],
)
def test_bad_overrides_are_refused_by_name(override, message, tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("train: {seed: 1}\n")
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(path, (override,))
    assert "\n" not in str(caught.value)


def test_the_override_is_to_blame_for_its_key_and_the_file_for_its_own(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("train: {seed: -1, sead: 1}\n")

    def message(*overrides):
        with pytest.raises(ConfigError) as caught:
            load_config(path, overrides)
        return str(caught.value)

    assert message("train.rpn.epoch=3").startswith(
        f"--set: unknown key train.rpn.epoch, did you mean train.rpn.epochs?; {path}: train.seed: "
    )
    assert message("train.seed=1") == f"{path}: unknown key train.sead, did you mean train.seed?"
    assert message("models.min_size=1").startswith("--set: unknown key models, did you mean model?; ")
    assert "unknown key data.qqq; " in message("data.qqq=1"), "there is no key like it"
    assert message("model.min_sizes.x=1").startswith("--set: unknown key model.min_sizes, did you mean model.min_size?")


def test_all_problems_are_named_at_once():
    with pytest.raises(ConfigError, match="unknown key data.colour, .*; train.seed"):
        make_config({"data": {"colour": 1}, "train": {"seed": -1}})


@pytest.mark.parametrize(
    ("text", "message"), [("- 1\n- 2\n", "must hold keys and values, not a list"), ("a: [1", "not valid YAML")]
)
def test_bad_files_are_refused_by_name(text, message, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(path)
    assert "bad.yaml" in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_names_the_presets():
    with pytest.raises(ConfigError, match="nowhere.yaml: no such file.*scenes-small"):
        load_config("nowhere.yaml")


def test_yaml_cannot_make_python_objects(tmp_path):
    path = tmp_path / "hostile.yaml"
    path.write_text("train: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(path)


def test_classes_without_ids_are_numbered():
    assert ModelConfig(class_names=("cat", "dog")).category_ids == (1, 2)
    assert ModelConfig(class_names=("cat", "dog"), category_ids=(7, 3)).category_ids == (7, 3)
    assert ModelConfig().category_ids == ()
