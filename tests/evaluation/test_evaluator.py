"""A model that knows the answers scores 1, one that finds nothing scores 0, and a wrong data set is refused."""

import collections
import json
import types

import numpy as np
import pytest
import tensorflow as tf
from small_training import CLASS_NAMES, small_config, small_model

from keras_mrcnn.data.coco import CocoDataset
from keras_mrcnn.data.prepare import prepare_dataset
from keras_mrcnn.data.prepared import PreparedDataset
from keras_mrcnn.evaluation import evaluator
from keras_mrcnn.evaluation.evaluator import evaluate_model
from keras_mrcnn.evaluation.tables import read_json, write_json
from keras_mrcnn.layers.detections import BoxDetections
from keras_mrcnn.layers.proposals import Proposals
from keras_mrcnn.mask_rcnn.model import MaskRCNN
from keras_mrcnn.scenes.generator import generate_scenes
from keras_mrcnn.targets.rpn_targets import label_anchors

MASK_SIDE = 28


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Three generated scenes of one size, one of them without any object, category ids 7, 30 and 90."""
    folder = tmp_path_factory.mktemp("scenes")
    sides = {"height_range": (200, 200), "width_range": (240, 240)}
    scenes = generate_scenes(folder, num_train=3, num_val=1, seed=11, workers=1, **sides)
    annotations = json.loads(scenes.annotation_files["train"].read_text())
    ids = {1: 7, 2: 30, 3: 90}
    for category in annotations["categories"]:
        category["id"] = ids[category["id"]]
    empty = annotations["images"][0]["id"]
    annotations["annotations"] = [item for item in annotations["annotations"] if item["image_id"] != empty]
    for item in annotations["annotations"]:
        item["category_id"] = ids[item["category_id"]]
    path = folder / "changed.json"
    path.write_text(json.dumps(annotations))
    return CocoDataset(path, scenes.image_folders["train"])


def only_batch(dataset):
    """All pictures with their ground truth, masks too."""
    (batch,) = evaluator._read(dataset, [[0, 1, 2]])
    rows = batch["gt_labels"].shape[1]
    masks = [dataset.ground_truth(image_id).masks for image_id in batch["image_ids"].tolist()]
    return {**batch, "gt_masks": np.stack([np.pad(m, [(0, rows - len(m)), (0, 0), (0, 0)]) for m in masks])}


class Oracle:
    """Stands for a `MaskRCNN`: knows the ground truth of one batch, and finds `share` of the objects exactly.

    Its network takes pictures as they are.
    """

    def __init__(self, batch, share=1.0):
        self.config = small_config()
        self.batch = batch
        self.share = share
        self.count = tf.reduce_sum(tf.cast(batch["gt_labels"] > 0, tf.int32), axis=1)

    postprocess = MaskRCNN.postprocess

    def preprocess(self, pictures):
        return {"images": pictures, "image_sizes": tf.tile(tf.shape(pictures)[None, 1:3], [3, 1])}

    def extract_features(self, images):
        return [images]

    def score_anchors(self, features, images):
        # The anchors are the objects of all images, and a box in the corner.
        anchors = tf.concat([tf.reshape(self.batch["gt_boxes"], [-1, 4]), [[0.0, 0.0, 4.0, 4.0]]], axis=0)
        labels, _ = label_anchors(
            anchors, self.batch["gt_boxes"], self.batch["gt_labels"], positive_iou=0.7, negative_iou=0.3
        )
        return [tf.where(labels == 1, 5.0, -5.0)], [tf.zeros([1, 1, 4])], [anchors]

    def proposals(self, objectness, deltas, anchors, image_sizes):
        return Proposals(self.batch["gt_boxes"], tf.ones_like(self.batch["gt_boxes"][..., 0]), self.count)

    def predict_boxes(self, features, proposals, image_sizes):
        labels = self.batch["gt_labels"]
        scores = tf.ones(tf.shape(labels))
        valid = tf.cast(tf.cast(self.count, tf.float32) * self.share, tf.int32)
        return BoxDetections(self.batch["gt_boxes"], scores, tf.maximum(labels, 0), valid)

    def predict_masks(self, features, detections):
        masks = tf.cast(self.batch["gt_masks"], tf.float32) / 255
        batch, objects = tf.unstack(tf.shape(masks)[:2])
        flat = tf.reshape(masks, [-1, *masks.shape[2:], 1])
        small = tf.image.resize(flat, [MASK_SIDE, MASK_SIDE], method="area")
        return tf.reshape(small, [batch, objects, MASK_SIDE, MASK_SIDE])


def evaluate_oracle(dataset, stages, share=1.0):
    return evaluate_model(Oracle(only_batch(dataset), share), dataset, stages, batch_size=3, progress=False)


def test_perfect_model_scores_one(dataset):
    scores, results = evaluate_oracle(dataset, ("box", "mask"))
    assert scores["box"]["AP"] == pytest.approx(1.0)
    assert scores["mask"]["AP50"] == pytest.approx(1.0)
    assert scores["mask"]["AP"] > 0.8  # 28 x 28 cells cannot hold the outline of the largest objects
    assert set(scores["box"]["per_class"]) == set(CLASS_NAMES)
    assert {result["category_id"] for result in results} <= {7, 30, 90}
    assert len(results) == len(dataset.coco.anns)


def test_perfect_proposals_recall_everything(dataset):
    scores, results = evaluate_oracle(dataset, ("rpn",))
    assert scores.keys() == {"rpn"} and results == []
    assert scores["rpn"]["accuracy"] == scores["rpn"]["positive_accuracy"] == scores["rpn"]["negative_accuracy"] == 1.0
    assert scores["rpn"]["AR100"] == scores["rpn"]["AR1000"] == pytest.approx(1.0)


def test_half_of_the_objects_score_less(dataset):
    scores, results = evaluate_oracle(dataset, ("box",), share=0.5)
    assert 0 < len(results) < len(dataset.coco.anns)
    assert 0.0 < scores["box"]["AP"] < 0.9
    assert "segmentation" not in results[0]


def test_finding_nothing_scores_zero_and_is_written_as_json(dataset, tmp_path):
    scores, results = evaluate_oracle(dataset, ("box", "mask"), share=0.0)
    assert results == []
    for stage in ("box", "mask"):
        assert scores[stage]["AP"] == scores[stage]["AP50"] == scores[stage]["AR100"] == 0.0
        assert all(score in (0.0, None) for score in scores[stage]["per_class"].values())
    write_json(tmp_path / "metrics.json", scores)
    assert read_json(tmp_path / "metrics.json") == scores


def test_real_model_is_scored_in_every_stage(dataset):
    """A fresh model knows nothing, but its figures are figures; detections lie in the original images."""
    model = small_model(box_head={"channels": 8, "score_threshold": 0.0, "max_detections": 5})
    scores, results = evaluate_model(model, dataset, progress=False)
    assert set(scores) == {"rpn", "box", "mask"}
    assert 0.0 <= scores["rpn"]["accuracy"] <= 1.0
    assert scores["box"]["AP50"] < 0.5
    counts = collections.Counter(result["image_id"] for result in results)
    assert 0 < len(counts) <= 3 and max(counts.values()) <= 5
    sizes = dict(zip(dataset.image_ids, dataset.image_sizes))
    for result in results:
        x, y, width, height = result["bbox"]
        image_height, image_width = sizes[result["image_id"]]
        assert min(x, y) >= 0 and x + width <= image_width + 1e-3 and y + height <= image_height + 1e-3
        assert result["segmentation"]["size"] == [image_height, image_width]


def config_with(*names):
    """A `ModelConfig` with these classes, whose own category ids 1, 2, ... are others than those of the data."""
    return small_config(class_names=names)


def test_classes_belong_together_by_name(dataset):
    """The model has more classes than the data, in another order, and one of its own ids is one of the data's."""
    names = ("N/A", "animal", "tree", "person", "N/A", "house", "vehicle")

    class Other(Oracle):
        """Finds every object, and a tree at the same place with a higher score."""

        def predict_boxes(self, features, proposals, image_sizes):
            boxes, scores, labels, valid = super().predict_boxes(features, proposals, image_sizes)
            labels = tf.repeat(tf.gather([0, *(names.index(name) + 1 for name in CLASS_NAMES)], labels), 2, axis=1)
            is_tree = tf.range(tf.shape(labels)[1]) % 2 == 0
            labels = tf.where(is_tree & (labels > 0), names.index("tree") + 1, labels)
            scores = tf.where(is_tree, 1.0, 0.5) * tf.repeat(scores, 2, axis=1)
            return BoxDetections(tf.repeat(boxes, 2, axis=1), scores, labels, valid * 2)

    model = Other(only_batch(dataset))
    model.config = config_with(*names)
    scores, results = evaluate_model(model, dataset, ("box",), batch_size=3, progress=False)
    assert scores["box"]["AP"] == pytest.approx(1.0)
    assert set(scores["box"]["per_class"]) == set(CLASS_NAMES)
    assert len(results) == len(dataset.coco.anns)
    assert {result["category_id"] for result in results} <= {7, 30, 90}


def test_objects_of_classes_that_were_not_chosen_are_not_missed(dataset):
    chosen = CocoDataset(dataset.coco.dataset, dataset.image_folder, ["person"])
    model = Oracle(only_batch(chosen))
    scores, results = evaluate_model(model, chosen, ("box",), batch_size=3, progress=False)
    assert results == []  # the oracle calls label 1 vehicle
    model.config = config_with("person", "cat")
    scores, results = evaluate_model(model, chosen, ("rpn", "box"), batch_size=3, progress=False)
    assert scores["box"]["AP"] == scores["rpn"]["AR100"] == pytest.approx(1.0)
    assert scores["box"]["per_class"].keys() == {"person"} and {found["category_id"] for found in results} == {30}


@pytest.mark.parametrize("names", [("cat", "dog"), ("vehicle", "person")])
def test_other_classes_are_refused(dataset, names):
    model = types.SimpleNamespace(config=config_with(*names))
    with pytest.raises(ValueError, match="has the classes vehicle, person, animal, the model .*; evaluate on classes"):
        evaluate_model(model, dataset, progress=False)


def test_classes_of_one_name_are_refused(dataset):
    content = {**dataset.coco.dataset, "categories": [{"id": number, "name": "person"} for number in (7, 30, 90)]}
    doubled = CocoDataset(content, dataset.image_folder)
    with pytest.raises(ValueError, match="several classes called person; rename all but one"):
        evaluate_model(types.SimpleNamespace(config=small_config()), doubled, progress=False)


def test_unknown_stage_is_refused(dataset):
    with pytest.raises(ValueError, match="stages: unknown masks; known are rpn, box, mask"):
        evaluate_model(types.SimpleNamespace(config=small_config()), dataset, ("box", "masks"), progress=False)


def test_scores_do_not_depend_on_the_batches(dataset):
    model = small_model(box_head={"channels": 8, "score_threshold": 0.0, "max_detections": 5})
    _, one_by_one = evaluate_model(model, dataset, ("box", "mask"), progress=False)
    _, together = evaluate_model(model, dataset, ("box", "mask"), batch_size=3, progress=False)
    assert len(one_by_one) == len(together) > 0
    for alone, in_batch in zip(one_by_one, together):
        assert alone["image_id"] == in_batch["image_id"]
        np.testing.assert_allclose(alone["bbox"], in_batch["bbox"], atol=0.01)
        np.testing.assert_allclose(alone["score"], in_batch["score"], atol=1e-5)


def test_scores_are_of_what_the_model_predicts(dataset):
    model = small_model(box_head={"channels": 8, "score_threshold": 0.0, "max_detections": 5})
    _, results = evaluate_model(model, dataset, ("box", "mask"), progress=False)
    predicted = []
    for image_id in dataset.image_ids:
        [detections] = model.predict([dataset.load_image(image_id)])
        predicted += detections.to_coco(image_id)
    assert len(results) == len(predicted) > 0
    for result, own in zip(sorted(results, key=lambda r: r["image_id"]), predicted):
        assert result["segmentation"] == own["segmentation"]
        np.testing.assert_allclose(result["bbox"], own["bbox"], atol=1e-3)


def test_pictures_are_read_once_and_unchanged(dataset):
    first, second = evaluator._read(dataset, [[2, 0], [1]])
    for rows, batch in (((2, 0), first), ((1,), second)):
        assert batch["image_ids"].tolist() == [dataset.image_ids[row] for row in rows]
        assert batch["images"].dtype == np.uint8
        for place, image_id in enumerate(batch["image_ids"].tolist()):
            truth = dataset.ground_truth(image_id, mask_size=0)
            np.testing.assert_array_equal(batch["images"][place], dataset.load_image(image_id))
            np.testing.assert_array_equal(batch["gt_boxes"][place, : len(truth)], truth.boxes)
            assert batch["gt_labels"][place].tolist() == [
                *truth.labels, *[-1] * (batch["gt_labels"].shape[1] - len(truth))
            ]  # fmt: skip
    assert len(dataset.ground_truth(dataset.image_ids[0])) == 0 and (first["gt_labels"][1] == -1).all()
    assert min(batch["gt_labels"].shape[1] for batch in (first, second)) >= 1


def test_prepared_data_score_the_same(dataset, tmp_path):
    prepared = prepare_dataset(dataset.coco.dataset, dataset.image_folder, tmp_path / "prepared", mask_size=28)
    model = small_model(box_head={"channels": 8, "score_threshold": 0.0, "max_detections": 5})
    assert evaluate_model(model, prepared, progress=False) == evaluate_model(model, dataset, progress=False)
    chosen = PreparedDataset(prepared.folder, ["person"])
    expected = CocoDataset(dataset.coco.dataset, dataset.image_folder, ["person"])
    assert evaluate_model(model, chosen, ("rpn", "box"), progress=False) == evaluate_model(
        model, expected, ("rpn", "box"), progress=False
    )


def test_some_of_the_images_score_as_a_set_of_their_own(dataset):
    content, ids = dataset.coco.dataset, [dataset.image_ids[row] for row in (0, 1)]
    part = {
        **content,
        "images": [image for image in content["images"] if image["id"] in ids],
        "annotations": [item for item in content["annotations"] if item["image_id"] in ids],
    }
    model = small_model(box_head={"channels": 8, "score_threshold": 0.0, "max_detections": 5})
    sizes = []
    scored = evaluate_model(model, dataset, ("rpn", "box"), images=2, progress=False, on_batch=sizes.append)
    assert sizes == [1, 1]
    expected = CocoDataset(part, dataset.image_folder)
    assert scored == evaluate_model(model, expected, ("rpn", "box"), progress=False)


def test_damaged_files_are_named(dataset, tmp_path):
    prepared = prepare_dataset(dataset.coco.dataset, dataset.image_folder, tmp_path / "prepared", mask_size=28)
    shard = next((tmp_path / "prepared").rglob("*.tfrecord"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 255
    shard.write_bytes(content[: -len(content) // 3])
    gone = CocoDataset(dataset.coco.dataset, tmp_path)
    for data, name in ((prepared, str(shard)), (gone, str(tmp_path / "000001.jpg"))):
        with pytest.raises(ValueError, match=name) as caught:
            evaluate_model(small_model(), data, ("box",), progress=False)
        assert "\n" not in str(caught.value)
