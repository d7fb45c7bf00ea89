"""Mask R-CNN: the wiring, in the order of the paper.

Shapes: B batch, H W of the padded input, R proposals, D detections, M mask side, K classes.
"""

import keras
import tensorflow as tf

from keras_mrcnn.compat import dtype_policy
from keras_mrcnn.layers.anchors import AnchorGenerator
from keras_mrcnn.layers.detections import DetectionLayer
from keras_mrcnn.layers.proposals import ProposalLayer
from keras_mrcnn.layers.roi_align import RoIAlign
from keras_mrcnn.models.backbones import make_backbone
from keras_mrcnn.models.box_head import BoxHead
from keras_mrcnn.models.fpn import C4, FPN
from keras_mrcnn.models.mask_head import MaskHead
from keras_mrcnn.models.rpn import RPN

BOX_POOL, MASK_POOL = 7, 14


class MaskRCNN(keras.Model):
    """Boxes, classes and masks of the objects in a batch of images.

    Save it with `save_weights`, whose files hold the config too; Keras' own `.keras` format does not know that.

    Args:
        config: `ModelConfig`; its `class_names` say what the model can find.
        precision: Keras dtype policy of the networks: "float32" or "mixed_bfloat16" (weights stay in float32).
        backbone: functional `keras.Model` where `config.backbone` is an `InstanceConfig`; the model gets a copy.

    Call arguments:
        inputs: dict with
            images: float32 [B, H, W, C], C being `config.channels`, normalised, zero-padded right and bottom, H and W
                multiples of 32;
            image_sizes: int32 [B, 2], height and width of each image before padding, in pixels.
        training: makes `propose` keep as many boxes as in training; nothing else, and no loss is made here.

    Returns:
        dict with boxes float32 [B, D, 4], xyxy pixels of the padded input, best first; scores float32 [B, D];
        labels int32 [B, D], 1..K in the order of `class_names`, 0 for padding; valid int32 [B], how many
        detections there are; masks float32 [B, D, M, M], probabilities inside the box. No gradient.

    Raises:
        ValueError: if the config names no classes, or the backbone lacks the maps.

    Example:
        >>> model = MaskRCNN(ModelConfig(class_names=("cat", "dog"), backbone=ResNetConfig(depth=18)))
        >>> result = model({"images": tf.zeros([1, 64, 64, 3]), "image_sizes": tf.constant([[64, 60]])})

    Reference: He et al., Mask R-CNN, 2017.
    """

    def __init__(self, config, precision="float32", backbone=None, **kwargs):
        # The networks compute in `precision`; what comes in and goes out, and all box arithmetic, is float32.
        super().__init__(dtype="float32", **kwargs)
        if not config.class_names:
            raise ValueError("class_names is empty: name the classes that the model is to find")
        self.config = config
        with dtype_policy(precision):
            self._make_parts(config, backbone)
            # Weights exist from the start, so that they can be read, loaded and counted before any image is seen.
            self({"images": tf.zeros([1, 64, 64, config.channels]), "image_sizes": tf.constant([[64, 64]])})

    def _make_parts(self, config, backbone):
        num_classes, fpn = len(config.class_names), config.neck.kind == "fpn"
        strides = (4, 8, 16, 32) if fpn else (16,)
        neck, rpn, box, mask, epsilon = config.neck, config.rpn, config.box_head, config.mask_head, config.norm_epsilon
        self.backbone = make_backbone(config, backbone)
        self.neck = FPN(neck.channels, norm=neck.norm, epsilon=epsilon, name="fpn") if fpn else C4(name="c4")
        self.anchors = AnchorGenerator(config.anchor_sizes, rpn.aspect_ratios, name="anchors")
        self.roi_channels = neck.channels if fpn else self.backbone.channels[-1]
        self.rpn = RPN(self.roi_channels, len(self.anchors.cells[0]), rpn.convolutions, name="rpn")
        self.proposals = ProposalLayer(
            pre_nms_train=rpn.pre_nms_train,
            post_nms_train=rpn.post_nms_train,
            pre_nms_test=rpn.pre_nms_test,
            post_nms_test=rpn.post_nms_test,
            nms_iou=rpn.nms_iou,
            name="proposals",
        )
        self.box_pool = RoIAlign(BOX_POOL, strides, config.roi_canonical_side, name="box_pool")
        self.box_head = BoxHead(
            num_classes,
            box.channels,
            box.dense_layers,
            box.convolutions,
            box.conv_channels,
            norm=box.norm,
            epsilon=epsilon,
            name="box_head",
        )
        self.detections = DetectionLayer(
            score_threshold=box.score_threshold,
            nms_iou=box.nms_iou,
            max_detections=box.max_detections,
            name="detections",
        )
        self.mask_pool = RoIAlign(MASK_POOL, strides, config.roi_canonical_side, name="mask_pool")
        self.mask_head = MaskHead(
            num_classes, mask.channels, mask.convolutions, norm=mask.norm, epsilon=epsilon, name="mask_head"
        )

    def call(self, inputs, training=False):
        images, image_sizes = inputs["images"], inputs["image_sizes"]
        features = self.extract_features(images)
        proposals = self.propose(features, images, image_sizes, training=training)
        detections = self.predict_boxes(features, proposals, image_sizes)
        masks = self.predict_masks(features, detections)
        return {**detections._asdict(), "masks": masks}

    def extract_features(self, images, training=False):
        """Maps of every level, a list of float [B, h, w, C], finest first.

        Args:
            images: as in `call`.
            training: whether batch norms that are not frozen use and move batch statistics.
        """
        return self.neck(self.backbone(images, training=training), training=training)

    def score_anchors(self, features, images):
        """The RPN's objectness logits, deltas and anchors: three lists, one entry a level, as `ProposalLayer` takes."""
        objectness, deltas = self.rpn(features)
        return objectness, deltas, self.anchors(features, tf.shape(images)[1:3])

    def propose(self, features, images, image_sizes, training=False):
        """`Proposals` of the RPN from the maps of `extract_features`; of `images` only the padded size is used."""
        objectness, deltas, anchors = self.score_anchors(features, images)
        return self.proposals(objectness, deltas, anchors, image_sizes, training=training)

    def predict_boxes(self, features, proposals, image_sizes):
        """`BoxDetections` of the box head on `Proposals`."""
        class_logits, deltas = self.box_head(self.box_pool(self.roi_features(features), proposals.boxes))
        return self.detections(class_logits, deltas, proposals, image_sizes)

    def predict_masks(self, features, detections):
        """Mask probabilities float32 [B, D, M, M] of `BoxDetections`, zero for padding."""
        # At most as many as the fullest image has, but never none: convolutions of nothing are where runtimes fail.
        most = tf.maximum(tf.reduce_max(detections.valid), 1)
        boxes, labels = detections.boxes[:, :most], detections.labels[:, :most]
        logits = self.mask_head(self.mask_pool(self.roi_features(features), boxes), labels)
        masks = tf.sigmoid(logits) * tf.cast(labels > 0, tf.float32)[:, :, None, None]
        room = tf.shape(detections.labels)[1] - most
        return tf.pad(masks, [[0, 0], [0, room], [0, 0], [0, 0]])

    def roi_features(self, features):
        """The levels that RoIs are pooled from: all but the coarsest of a pyramid, which serves the RPN alone."""
        return features[: len(self.box_pool.strides)]
