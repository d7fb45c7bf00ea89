"""The config that belongs to a state dict: versions, depths, classes, norms; models that we do not have are refused."""

from __future__ import annotations

import numpy as np
import pytest
from golden_inputs import golden
from state_dicts import BLOCKS, COUNTER, FULL_SIZE, hollow, mask_rcnn_shapes, resnet_shapes, without_counters

from keras_mrcnn.config import ModelConfig, RPNConfig
from keras_mrcnn.weights.architecture import ArchitectureError, infer_config, is_classifier, resnet_depth
from keras_mrcnn.weights.coco_classes import COCO_CLASS_NAMES


def config_of(shapes, **options):
    counted = [name.rpartition(".")[0] for name in shapes if name.endswith(COUNTER)]
    return infer_config(hollow(without_counters(shapes)), counted, **options)


def test_published_first_version_is_our_default():
    lines = (line.split() for line in golden("names")["names"].tolist())
    shapes = {name: tuple(map(int, shape.split("x"))) for name, shape in lines}
    config = config_of(shapes)
    assert config == ModelConfig(class_names=COCO_CLASS_NAMES)
    assert config.category_ids == tuple(range(1, 91))


def test_second_version():
    config = config_of(mask_rcnn_shapes(50, 91, v2=True, **FULL_SIZE))
    assert config == ModelConfig.model_validate(
        {
            "class_names": COCO_CLASS_NAMES,
            "backbone": {"norm": "bn"},
            "neck": {"norm": "bn"},
            "rpn": {"convolutions": 2},
            "box_head": {"dense_layers": 1, "convolutions": 4, "norm": "bn"},
            "mask_head": {"norm": "bn"},
        }
    )


@pytest.mark.parametrize("v2", [False, True])
@pytest.mark.parametrize("depth", [18, 34, 50, 101])
def test_depths_and_sizes(depth, v2):
    sizes = {"base": 24, "channels": 12, "dense": 20, "mask_convs": 3}
    config = config_of(mask_rcnn_shapes(depth, 5, v2, **sizes))
    assert (config.backbone.depth, config.backbone.width) == (depth, 0.375)
    assert (config.neck.channels, config.box_head.channels) == (12, 20)
    assert (config.mask_head.channels, config.mask_head.convolutions) == (12, 3)
    assert config.class_names == ("class 1", "class 2", "class 3", "class 4")


def test_norms_that_count_batches_were_trained_and_each_part_has_its_own():
    shapes = mask_rcnn_shapes(v2=True)
    frozen = config_of(without_counters(shapes))
    parts = ("backbone", "neck", "box_head", "mask_head")
    assert [getattr(frozen, part).norm for part in parts] == ["frozen_bn"] * 4
    body = {name: shape for name, shape in shapes.items() if "body" not in name or not name.endswith(COUNTER)}
    assert [getattr(config_of(body), part).norm for part in parts] == ["frozen_bn", "bn", "bn", "bn"]
    groups = {name: shape for name, shape in shapes.items() if not name.endswith((COUNTER, "mean", "var"))}
    assert [getattr(config_of(groups), part).norm for part in parts] == ["group_norm"] * 4


def test_given_names_and_epsilon():
    config = config_of(mask_rcnn_shapes(), class_names=["cat", "dog"], norm_epsilon=0.0)
    assert (config.class_names, config.category_ids) == (("cat", "dog"), (1, 2))
    assert config.backbone.norm_epsilon == 0


@pytest.mark.parametrize("names", [["cat"], ["cat", "dog", "cow"], []])
def test_names_must_be_as_many_as_the_classes(names):
    with pytest.raises(ArchitectureError, match=f"2 classes without the background, not {len(names)} as class_names"):
        config_of(mask_rcnn_shapes(), class_names=names)


def test_anchors_of_other_counts_need_a_config():
    shapes = {**mask_rcnn_shapes(), "rpn.head.cls_logits.weight": (5, 8, 1, 1)}
    with pytest.raises(ArchitectureError, match="5 anchors a cell.*build the model from a ModelConfig"):
        config_of(shapes)
    anchors = RPNConfig(aspect_ratios=(0.3, 0.5, 1.0, 2.0, 3.0), samples=9, convolutions=4)
    rpn = config_of(shapes, anchors=anchors).rpn
    assert rpn == RPNConfig(aspect_ratios=anchors.aspect_ratios)


LACKS = [
    "backbone.body.conv1.weight",
    "backbone.body.layer1.0.conv1.weight",
    "backbone.fpn.inner_blocks.0.0.weight",
    "backbone.fpn.layer_blocks.0.0.weight",
    "rpn.head.conv.0.0.weight",
    "rpn.head.cls_logits.weight",
    "roi_heads.box_head.fc6.weight",
    "roi_heads.box_predictor.cls_score.weight",
    "roi_heads.mask_predictor.conv5_mask.weight",
]


@pytest.mark.parametrize("name", LACKS)
def test_what_lacks_is_named(name):
    shapes = mask_rcnn_shapes()
    del shapes[name]
    with pytest.raises(ArchitectureError, match=f"lacks {name}"):
        config_of(shapes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone.body.conv1.weight": (8, 147)}, "lacks backbone.body.conv1.weight"),
        ({"backbone.body.layer1.0.conv1.weight": (16, 8, 3, 3)}, "wide or grouped"),
        ({"backbone.body.layer1.2.conv1.weight": (8, 8, 3, 3)}, r"backbone has \(3, 2, 2, 2\) basic blocks"),
        ({"backbone.fpn.inner_blocks.4.0.weight": (8, 8, 1, 1)}, "FPN has 5 levels"),
        ({"roi_heads.box_head.fc6.weight": (16, 8 * 14 * 14)}, "does not take 49 cells"),
        ({"roi_heads.box_head.fc6.weight": ()}, r"fc6.weight has shape \(\)"),
        ({"backbone.fpn.inner_blocks.0.0.weight": (10**12, 0, 1, 1)}, "has shape .*, which no weight has"),
        ({"roi_heads.box_predictor.cls_score.weight": (1, 16)}, "no classes beside the background"),
    ],
)
def test_models_that_we_do_not_have(changes, message):
    with pytest.raises(ArchitectureError, match=message) as caught:
        config_of({**mask_rcnn_shapes(), **changes})
    assert "\n" not in str(caught.value)


def test_nothing_is_no_model():
    with pytest.raises(ArchitectureError, match="lacks backbone.body.conv1.weight"):
        infer_config({})


@pytest.mark.parametrize("depth", BLOCKS)
def test_classifiers(depth):
    shapes = resnet_shapes(depth, classes=10)
    assert is_classifier(shapes) and resnet_depth(shapes) == depth
    assert not is_classifier(mask_rcnn_shapes(depth))


def test_resnet_152_is_refused():
    shapes = resnet_shapes(101)
    shapes.update({f"layer2.{block}.conv1.weight": (16, 64, 1, 1) for block in range(4, 8)})
    with pytest.raises(ArchitectureError, match=r"\(3, 8, 23, 3\) bottlenecks; .* 18, 34, 50 and 101"):
        resnet_depth(shapes)


def test_values_are_not_looked_at():
    tensors = hollow(without_counters(mask_rcnn_shapes()))
    assert infer_config({name: np.full_like(value, np.nan) for name, value in tensors.items()}) == infer_config(tensors)
