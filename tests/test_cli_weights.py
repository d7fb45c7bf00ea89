"""The command line for weights: converting, looking into files, training from them."""

from __future__ import annotations

import json
import types

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from safetensors.numpy import load_file, save_file
from small_models import fill, small_config
from torch_python import run_torch, skip_without

from keras_mrcnn.cli import main
from keras_mrcnn.cli.torchvision_code import code_lines, function_name, lacking_settings
from keras_mrcnn.config import ModelConfig, load_config
from keras_mrcnn.models.mask_rcnn import MaskRCNN
from keras_mrcnn.training import trainer
from keras_mrcnn.weights import load_weights, save_weights
from keras_mrcnn.weights.names import named_weights

COUNTER = "backbone.body.bn1.num_batches_tracked"
# What makes a small model one that a state dict gives back: its classes have no names there.
CLASSES = ("class 1", "class 2")


def run(*arguments):
    """Runs `keras-mrcnn weights` and returns click's result; `output` has stdout and stderr."""
    return CliRunner().invoke(main, ["weights", *(str(argument) for argument in arguments)])


def output(*arguments):
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def error(*arguments, code=1):
    """The last line of a command that fails; with exit status 1 it is the only one."""
    result = run(*arguments)
    assert result.exit_code == code, result.output
    lines = result.output.strip().splitlines()
    assert code == 2 or len(lines) == 1, result.output
    return lines[-1]


@pytest.fixture(scope="module")
def model():
    return fill(MaskRCNN(small_config(class_names=CLASSES, backbone={"norm": "bn"})))


@pytest.fixture(scope="module")
def ours(model, tmp_path_factory):
    """Our file, in a run folder."""
    path = tmp_path_factory.mktemp("runs") / "mine" / "model.safetensors"
    save_weights(model, path)
    return path


@pytest.fixture(scope="module")
def state_dict(ours, tmp_path_factory):
    """The same weights as torch has them: with counters beside the statistics, and without a config."""
    path = tmp_path_factory.mktemp("torch") / "state.safetensors"
    tensors = load_file(ours)
    counters = [name.replace("running_var", "num_batches_tracked") for name in tensors if name.endswith("running_var")]
    save_file({**tensors, **{name: np.array(7, np.int64) for name in counters}}, path)
    return path


@pytest.fixture(scope="module")
def classifier(model, tmp_path_factory):
    """As torchvision's resnet18 has it, an eighth as wide, for ten classes."""
    path = tmp_path_factory.mktemp("torch") / "resnet18.safetensors"
    body = "backbone.body."
    tensors = {
        name[len(body) :]: entry.to_torch(entry.variable.numpy()).copy()
        for name, entry in named_weights(model).items()
        if name.startswith(body)
    }
    save_file({**tensors, "fc.weight": np.zeros((10, 64), np.float32), "fc.bias": np.zeros(10, np.float32)}, path)
    return path


# keras-mrcnn weights convert


def test_convert_says_what_it_wrote(state_dict, tmp_path, model):
    target = tmp_path / "new" / "model.safetensors"
    numbers = sum(np.prod(w.shape) for name, w in load_file(state_dict).items() if "running" not in name)
    numbers -= sum(name.endswith("num_batches_tracked") for name in load_file(state_dict))
    assert output("convert", state_dict, target) == (
        f"Wrote {target}: Mask R-CNN with ResNet-18 of width 0.125 and FPN (bn, epsilon 1e-05), 2 classes, "
        f"{int(numbers):,} parameters.\n"
    )
    assert load_weights(None, target).config.class_names == CLASSES
    before, after = load_file(state_dict), load_file(target)
    assert after.keys() == before.keys() and all(np.array_equal(after[name], before[name]) for name in before)


def test_convert_takes_a_run_folder(ours, tmp_path):
    target = tmp_path / "copy.safetensors"
    assert f"Wrote {target}: " in output("convert", ours.parent, target)
    assert load_file(target).keys() == load_file(ours).keys()


def test_convert_halves_the_size(ours, tmp_path):
    target = tmp_path / "half.safetensors"
    output("convert", ours, target, "--half")
    assert target.stat().st_size < 0.6 * ours.stat().st_size


@pytest.mark.parametrize("form", ["list", "file"])
def test_names_and_epsilon_are_given_to_a_state_dict(state_dict, tmp_path, form):
    names = "cat, dog"
    if form == "file":
        (tmp_path / "names.txt").write_text("cat\n\n dog \n", encoding="utf-8")
        names = tmp_path / "names.txt"
    target = tmp_path / "model.safetensors"
    said = output("convert", state_dict, target, "--class-names", names, "--norm-epsilon", "0")
    assert "(bn, epsilon 0), 2 classes" in said
    config = load_weights(None, target).config
    assert config.class_names == ("cat", "dog") and config.backbone.norm_epsilon == 0.0


def test_convert_refuses_in_one_sentence(ours, state_dict, classifier, tmp_path):
    target = tmp_path / "new.safetensors"
    before = ours.read_bytes()
    assert "is the file to read from; name another one" in error("convert", ours.parent, ours, code=2)
    assert ours.read_bytes() == before
    assert "use .safetensors, .pth, .pt" in error("convert", ours, tmp_path / "new.h5", code=2)
    assert "names.txt: no such file" in error("convert", ours, target, "--class-names", "names.txt", code=2)
    assert "has no names" in error("convert", ours, target, "--class-names", ",", code=2)
    assert "has 2 classes without the background, not 3" in error(
        "convert", state_dict, target, "--class-names", "a,b,c"
    )
    assert "has its own class names" in error("convert", ours, target, "--class-names", "a,b")
    assert "holds an ImageNet classifier" in error("convert", classifier, target)
    assert "training is not finished" in error("convert", tmp_path, target)
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(before[:-10])
    assert f"{torn}: not a whole safetensors file" in error("convert", torn, target)
    assert not target.exists()


# keras-mrcnn weights inspect


def test_inspect_shows_our_file(ours):
    lines = output("inspect", ours.parent).splitlines()
    assert lines[0] == f"{ours}: our weights and config, of none of torchvision's ready shapes"
    facts = dict(line.split("  ", 1) for line in lines[1:6])
    assert {name: value.strip() for name, value in facts.items()} == {
        "backbone": "ResNet-18 of width 0.125 and FPN, stride in the 3x3 convolution",
        "norms": "backbone bn, FPN none, box head none, mask head none",
        "norm epsilon": "1e-05",
        "classes": "2: class 1, class 2",
        "counters": "none",
    }
    assert lines[-1] == (
        "torchvision has no ready model with backbone.width 0.125, box_head.channels 16, mask_head.channels 8, "
        "mask_head.convolutions 1, neck.channels 8."
    )


def test_inspect_counts_the_parts(ours):
    lines = output("inspect", ours).splitlines()
    table = {line[:10].strip(): line[10:].replace(",", "").split() for line in lines[8:14]}
    assert table.keys() == {"backbone", "FPN", "RPN", "box head", "mask head", "all"}
    tensors = load_file(ours)
    rpn = [value for name, value in tensors.items() if name.startswith("rpn.")]
    assert table["RPN"] == [str(len(rpn)), str(sum(v.size for v in rpn)), f"{sum(v.nbytes for v in rpn) / 1e6:.1f}"]
    assert int(table["all"][0]) == len(tensors)
    # Statistics are no parameters.
    assert int(table["all"][1]) == sum(v.size for name, v in tensors.items() if "running" not in name)


def test_inspect_shows_a_state_dict(state_dict, model, tmp_path):
    said = output("inspect", state_dict)
    assert said.startswith(f"{state_dict}: a state dict, ")
    assert f"counters      {len([n for n in load_file(state_dict) if n.endswith('tracked')])} of batches" in said
    # Without counters the norms are frozen, and torch counts none of their numbers as parameters.
    bare, named = tmp_path / "bare.safetensors", tmp_path / "many.safetensors"
    tensors = {name: value for name, value in load_file(state_dict).items() if not name.endswith("tracked")}
    save_file(tensors, bare)
    said = output("inspect", bare)
    assert "norms         backbone frozen_bn, FPN none" in said and "counters      none" in said
    norms = sum(value.size for name, value in tensors.items() if ".bn" in name or "downsample.1" in name)
    assert f"{sum(value.size for value in tensors.values()) - norms:,} " in said.splitlines()[13]
    output("convert", bare, named, "--class-names", "a,b")
    assert "classes       2: a, b\n" in output("inspect", named)


def test_inspect_shows_a_classifier(classifier):
    said = output("inspect", classifier)
    assert said.startswith(f"{classifier}: torchvision's ImageNet classifier resnet18, for model.backbone.weights\n")
    assert "classes   10\n" in said and "\nclassifier        2          650 " in said
    settings = yaml.safe_load(output("inspect", "--yaml", classifier))
    assert settings == {"model": {"backbone": {"depth": 18, "stride_in": "3x3", "weights": str(classifier)}}}


def test_yaml_of_inspect_is_a_config_for_training(ours, tmp_path, model):
    path = tmp_path / "config.yaml"
    path.write_text(output("inspect", ours, "--yaml"), encoding="utf-8")
    config = load_config(path).model
    assert config.class_names == () and config.backbone.weights is None
    classes = {"class_names": CLASSES, "category_ids": (1, 2)}
    assert config.model_copy(update=classes) == model.config


@pytest.mark.parametrize("content", [b"", b"PK, but no weights", b'{"a": 1}'])
def test_inspect_refuses_other_files(content, tmp_path):
    path = tmp_path / "other.safetensors"
    path.write_bytes(content)
    assert str(path) in error("inspect", path)
    assert "does not exist" in error("inspect", tmp_path / "nowhere", code=2)


def test_inspect_refuses_a_classifier_of_unknown_depth(classifier, tmp_path):
    path = tmp_path / "odd.safetensors"
    tensors = {name: value for name, value in load_file(classifier).items() if not name.startswith("layer4.1.")}
    save_file(tensors, path)
    assert f"{path}: its backbone has (2, 2, 2, 1) basic blocks" in error("inspect", path)


# keras-mrcnn train --weights


@pytest.fixture
def started(monkeypatch):
    """The configs that trainings are started with; nothing is trained."""
    configs = []

    class Trainer:
        workers = types.SimpleNamespace(is_chief=True)

        def __init__(self, config, folder, resume, verbose):
            configs.append(config)

        def fit(self):
            pass

    monkeypatch.setattr(trainer, "StagedTrainer", Trainer)
    return configs


def train(*arguments):
    data = ("--set", "data.train_annotations=a.json", "--set", "data.train_images=a")
    return CliRunner().invoke(main, ["train", *map(str, arguments), *data])


def test_weights_option_of_train_sets_the_config(started, ours, tmp_path):
    for weights in (ours, ours.parent):
        result = train("--preset", "scenes-small", "--run", tmp_path, "--weights", weights)
        assert result.exit_code == 0, result.output
    train("--preset", "scenes-small", "--run", tmp_path, "--set", f"train.weights={ours}")
    train("--preset", "scenes-small", "--run", tmp_path)
    assert [config.train.weights for config in started] == [str(ours)] * 3 + [None]


def test_resume_takes_no_weights(started, ours, tmp_path):
    (tmp_path / "config.yaml").write_text("{}", encoding="utf-8")
    result = train("--resume", "--run", tmp_path, "--weights", ours)
    assert result.exit_code == 2 and "--resume goes on from the checkpoint of the run; leave --weights out" in (
        result.output
    )
    assert not started


# The code of torchvision's models

V2 = {
    "backbone": {"norm": "bn"},
    "neck": {"norm": "bn"},
    "rpn": {"convolutions": 2},
    "box_head": {"dense_layers": 1, "convolutions": 4, "norm": "bn"},
    "mask_head": {"norm": "bn"},
}
SMALL_ANCHORS = {"anchor_sizes": [[16], [32], [64], [128], [256]], "aspect_ratios": [0.5, 1.0]}


def config_of(**settings):
    return ModelConfig.model_validate({"class_names": ("a", "b", "c"), **settings})


# Settings and the line that makes the model.
CODE = [
    ({}, "model = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=4)"),
    (V2, "model = maskrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None, num_classes=4)"),
    (
        {"min_size": 320, "max_size": 400, "box_head": {"score_threshold": 0.3, "max_detections": 7}},
        "model = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=4, min_size=320, max_size=400, "
        "box_score_thresh=0.3, box_detections_per_img=7)",
    ),
    (
        {"backbone": {"depth": 18, "stride_in": "1x1", "norm_epsilon": 0.0}, "rpn": SMALL_ANCHORS},
        'model = MaskRCNN(resnet_fpn_backbone(backbone_name="resnet18", weights=None), num_classes=4, '
        "rpn_anchor_generator=AnchorGenerator(((16.0,), (32.0,), (64.0,), (128.0,), (256.0,)), ((0.5, 1.0),) * 5))",
    ),
]


@pytest.mark.parametrize(("settings", "line"), CODE)
def test_code_makes_the_model(settings, line):
    lines = code_lines(config_of(**settings))
    assert line in lines and lines[-1] == "model.eval()"
    assert ("    norm.eps = 0.0" in lines) == ("norm_epsilon" in settings.get("backbone", {}))


def test_ready_models_are_named():
    assert function_name(config_of(backbone={"norm": "sync_bn"})) == "maskrcnn_resnet50_fpn"
    assert function_name(config_of(**V2)) == "maskrcnn_resnet50_fpn_v2"
    assert function_name(config_of(backbone={"depth": 101})) is None
    assert lacking_settings(config_of(backbone={"depth": 101})) == []


@pytest.mark.parametrize(
    ("settings", "lacking"),
    [
        ({"backbone": {"stride_in": "1x1"}}, ["backbone.stride_in 1x1"]),
        ({"backbone": {"norm": "group_norm"}, "neck": {"kind": "c4"}}, ["backbone.norm group_norm", "neck.kind c4"]),
        ({"roi_canonical_side": 112}, ["roi_canonical_side 112.0"]),
        ({**V2, "backbone": {"depth": 101}}, ["backbone.depth 101"]),
        ({**V2, "rpn": {"convolutions": 2, **SMALL_ANCHORS}}, ["rpn.anchor_sizes or rpn.aspect_ratios other than the "
                                                               "default"]),
    ],
)  # fmt: skip
def test_settings_that_torchvision_lacks_are_named(settings, lacking):
    assert lacking_settings(config_of(**settings)) == lacking


IN_TORCH = """
import json, sys, safetensors.torch
code, weights = sys.argv[1:]
exec(code)
model.load_state_dict(safetensors.torch.load_file(weights))
sys.stdout.write(json.dumps([type(model).__name__, model.rpn.anchor_generator.num_anchors_per_location()]))
"""


@pytest.mark.torchvision
@pytest.mark.slow
@pytest.mark.parametrize("settings", [CODE[1][0], CODE[3][0]], ids=["v2", "parts"])
def test_torchvision_takes_our_file_with_that_code(settings, tmp_path):
    """In a process of its own, because torchvision and TensorFlow do not live in one."""
    skip_without("torch", "torchvision", "safetensors")
    config, path = config_of(**settings), tmp_path / "model.safetensors"
    save_weights(MaskRCNN(config), path)
    done = run_torch("-c", IN_TORCH, "\n".join(code_lines(config)), path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["MaskRCNN", [3 if settings is V2 else 2] * 5]


def test_pth_goes_there_and_back(state_dict, tmp_path):
    pth, back = tmp_path / "state.pth", tmp_path / "back.safetensors"
    output("convert", state_dict, pth)
    assert f"{pth}: a state dict, " in output("inspect", pth)
    output("convert", pth, back)
    before, after = load_file(state_dict), load_file(back)
    assert after.keys() == before.keys() and all(np.array_equal(after[name], before[name]) for name in before)
    assert after[COUNTER] == 7
