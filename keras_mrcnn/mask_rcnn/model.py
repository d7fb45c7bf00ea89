"""Mask R-CNN: its parts in the order of the paper, with preprocessing and postprocessing.

Shapes: B batch, H W of the padded input, R proposals, D detections, M mask side, K classes.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any, Optional, Union

import keras
import numpy as np
import tensorflow as tf

from keras_mrcnn import weights
from keras_mrcnn.base.errors import UserError
from keras_mrcnn.base.image_files import Picture
from keras_mrcnn.base.records import Detections
from keras_mrcnn.compat import dtype_policy
from keras_mrcnn.config import InstanceConfig, ModelConfig
from keras_mrcnn.layers.anchors import AnchorGenerator
from keras_mrcnn.layers.detections import BoxDetections, DetectionLayer
from keras_mrcnn.layers.proposals import ProposalLayer, Proposals
from keras_mrcnn.layers.roi_align import BOX_POOL, MASK_POOL, RoIAlign
from keras_mrcnn.mask_rcnn import presets
from keras_mrcnn.mask_rcnn.detector import Detector
from keras_mrcnn.models.backbones import make_backbone
from keras_mrcnn.models.box_head import BoxHead
from keras_mrcnn.models.fpn import C4, FPN
from keras_mrcnn.models.mask_head import MaskHead
from keras_mrcnn.models.rpn import RPN
from keras_mrcnn.ops import images as image_ops
from keras_mrcnn.weights.native import named_values


@keras.saving.register_keras_serializable("keras_mrcnn")
class MaskRCNN(keras.Model):
    """Model that finds the boxes, classes and masks of objects in pictures.

    `predict` takes pictures and returns `Detections`. Calling the model runs the network alone, on inputs from
    `preprocess`; `postprocess` converts its outputs back to pixels of the pictures.

    Args:
        config: `ModelConfig`, or a dict of its settings; `class_names` are the classes that the model can find.
        dtype: Keras dtype policy of the networks, for example "mixed_bfloat16" (weights stay in float32); by default
            the global policy. Inputs, outputs and all box arithmetic are float32.
        backbone: functional `keras.Model` where `config.backbone` is an `InstanceConfig`; the model gets a copy.

    Call arguments:
        inputs: dict with
            images: float32 [B, H, W, C], C being `config.channels`, normalised, zero-padded right and bottom, H and W
                multiples of 32;
            image_sizes: int32 [B, 2], height and width of each image before padding, in pixels.
        training: makes `propose` keep as many boxes as in training. It has no other effect; the training stages compute
            the losses.

    Returns:
        dict with boxes float32 [B, D, 4], xyxy pixels of the padded input, best first; scores float32 [B, D];
        labels int32 [B, D], 1..K in the order of `class_names`, 0 for padding; valid int32 [B], the number of
        detections; masks float32 [B, D, M, M], probabilities inside the box. No gradient.

    Raises:
        ValueError: the config names no classes, or the backbone lacks maps.

    Example:
        >>> model = MaskRCNN(ModelConfig(class_names=("cat", "dog"), backbone=ResNetConfig(depth=18)))
        >>> [detections] = model.predict(["photo.jpg"])  # doctest: +SKIP
        >>> result = model({"images": tf.zeros([1, 64, 64, 3]), "image_sizes": tf.constant([[64, 60]])})

    Reference: He et al., Mask R-CNN, 2017.
    """

    def __init__(
        self,
        config: Union[ModelConfig, Mapping[str, Any]],
        dtype: Any = None,
        backbone: Optional[keras.Model] = None,
        **kwargs: Any,
    ):
        # Boxes and pictures must not be rounded, whatever the dtype policy of the networks.
        super().__init__(dtype=dtype, autocast=False, **kwargs)
        config = ModelConfig.model_validate(config)
        if not config.class_names:
            raise UserError("class_names is empty: name the classes that the model is to find")
        self.config = config
        with dtype_policy(self.dtype_policy):
            self._make_parts(config, backbone)
            # One call makes the weights, so that they can be read, loaded and counted before the first image.
            self.built = True  # its layers build themselves
            self({"images": tf.zeros([1, 64, 64, config.channels]), "image_sizes": tf.constant([[64, 64]])})

    def _make_parts(self, config: ModelConfig, backbone: Optional[keras.Model]) -> None:
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

    @classmethod
    def from_preset(
        cls,
        preset: Union[str, os.PathLike],
        class_names: Optional[Sequence[str]] = None,
        dtype: Any = None,
        norm_epsilon: Optional[float] = None,
    ) -> MaskRCNN:
        """Makes a model from a preset, with its weights.

        Args:
            preset: one of
                - the name of published weights, such as "maskrcnn_resnet50_fpn_v2_coco" (`keras-mrcnn weights list`
                  prints them), which are downloaded once;
                - a weight file: *.safetensors of `save_pretrained`, a state dict of torchvision as *.pth, *.pt or
                  *.safetensors, or a *.keras file of `save`;
                - the folder of a finished run;
                - the name or file of training settings, such as "coco-r50-fpn", for a new model with the backbone's
                  weights;
                - the name or file of an ImageNet backbone, for a new model with that backbone.
            class_names: the classes to find; by default those of the preset. Where they differ, the layers that depend
                on the classes start from random weights. A state dict has no names; if there are as many names as it
                has classes, they are taken to be the names of these classes.
            dtype: Keras dtype policy, as in `MaskRCNN`.
            norm_epsilon: of a state dict's batch norms; by default 0 for torchvision's published COCO v1 file, else
                1e-5.

        Returns:
            The `MaskRCNN`.

        Raises:
            WeightsError: the preset is no name, file or folder, cannot be downloaded, or holds no weights of a model.
            ConfigError: the training settings cannot be used.
            ValueError: the preset has no classes, and `class_names` is missing.

        Example:
            >>> model = MaskRCNN.from_preset("maskrcnn_resnet50_fpn_v2_coco")  # doctest: +SKIP
            >>> model = MaskRCNN.from_preset("coco-r50-fpn", class_names=("cat", "dog"))  # doctest: +SKIP
        """
        return presets.make_from_preset(cls, preset, class_names, dtype, norm_epsilon=norm_epsilon)

    def load_pretrained(
        self,
        file: Union[str, os.PathLike],
        *,
        strict: bool = False,
        class_names: Optional[Sequence[str]] = None,
        norm_epsilon: Optional[float] = None,
    ) -> None:
        """Fills this model from a weight file.

        Where the classes of the file differ from the model's, the layers that depend on them (scores, box deltas and
        mask logits) keep the weights of the model, and a warning lists them.

        Args:
            file: *.safetensors of `save_pretrained`, a state dict of torchvision as *.pth, *.pt or *.safetensors (its
                content decides, not its name), or the name of published weights.
            strict: whether other classes are an error.
            class_names: of a state dict, which has no names; by default COCO's for 91 outputs.
            norm_epsilon: see `from_preset`.

        Raises:
            WeightsError: the file is missing or torn, cannot be downloaded, holds no weights, or does not fit the
                model, which then stays as it was.
        """
        options = {"class_names": class_names, "norm_epsilon": norm_epsilon, "anchors": self.config.rpn}
        weights.fill_model(self, weights.read_model_weights(file, **options), strict=strict)

    def save_pretrained(self, path: Union[str, os.PathLike]) -> None:
        """Writes every weight under torchvision's names, in torchvision's layouts.

        Args:
            path: *.safetensors, which also holds the config and which `safetensors.torch.load_file` reads as a state
                dict; or *.pth or *.pt, a state dict alone. The file appears whole or not at all.

        Raises:
            WeightsError: the suffix is another.
        """
        weights.write_weights(path, named_values(self), self.config)

    def get_config(self) -> dict[str, Any]:
        """Returns the settings from which `from_config` makes this model anew, without its weights."""
        config = {"config": self.config.model_dump(mode="json"), "dtype": self.dtype_policy.name, "name": self.name}
        if isinstance(self.config.backbone, InstanceConfig):
            config["backbone"] = keras.saving.serialize_keras_object(self.backbone.body)
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> MaskRCNN:
        """Makes a model with new weights from the settings that `get_config` returns."""
        if isinstance(config.get("backbone"), dict):
            config = {**config, "backbone": keras.saving.deserialize_keras_object(config["backbone"])}
        return cls(**config)

    def get_build_config(self) -> None:
        """Returns None, because the constructor makes the weights already."""

    def predict(
        self, pictures: Union[np.ndarray, Sequence[Picture]], batch_size: int = 1, verbose: Any = 0
    ) -> list[Detections]:
        """Finds the objects in pictures, with the same graph as every export.

        Args:
            pictures: uint8 array [B, H, W, C] (RGB), or a sequence of pictures of any sizes: arrays uint8 [H, W, C],
                paths of image files or Pillow images.
            batch_size: how many pictures go through the network at once. A batch holds successive pictures of one size
                only, so that no picture is padded for another. More than 1 helps on GPUs.
            verbose: 1 shows a progress bar.

        Returns:
            A list of `Detections` in pixels of the pictures, in the order of the pictures.

        Raises:
            ImageError: a picture cannot be read or has another dtype or shape.

        Example:
            >>> model.predict(np.zeros([2, 48, 64, 3], np.uint8))  # doctest: +SKIP
            [Detections(no objects, image 48 x 64), Detections(no objects, image 48 x 64)]
        """
        from tqdm import tqdm

        detections = self.detector.stream(pictures, batch_size)
        # A single path or Pillow image has no length; `stream` then says to put it into a list.
        total = len(pictures) if hasattr(pictures, "__len__") else None
        return list(tqdm(detections, "predict", total, unit="image", disable=not verbose))

    @functools.cached_property
    def detector(self) -> Detector:
        """Returns the `Detector` of this model, the graph from pictures to detections, which follows its weights."""
        return Detector(self)

    def preprocess(self, pictures: tf.Tensor) -> dict[str, tf.Tensor]:
        """Normalises, resizes and zero-pads pictures of one size for the network.

        Args:
            pictures: uint8 or float [B, H, W, C], 0..255.

        Returns:
            dict with images and image_sizes, the inputs of `call`.

        Reference: torchvision `models/detection/transform.py`, `GeneralizedRCNNTransform`.
        """
        shape = tf.shape(pictures)
        size = image_ops.resized_size(shape[1], shape[2], self.config.min_size, self.config.max_size)
        images = image_ops.resize_to(image_ops.normalise(pictures), size)
        return {"images": image_ops.pad_to_multiple(images), "image_sizes": tf.tile(size[None], [shape[0], 1])}

    def postprocess(
        self, outputs: dict[str, tf.Tensor], image_size: tf.Tensor, picture_size: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Converts the network's outputs to pixels of the pictures and to the categories of the data set.

        Args:
            outputs: as `call` returns them; masks may be missing.
            image_size: int32 [2], (h, w) of the images in the network's input, without padding.
            picture_size: int32 [2], (h, w) of the pictures.

        Returns:
            dict with boxes float32 [B, D, 4], xyxy pixels of the pictures, best first, zero-padded; scores float32
            [B, D]; category_ids int32 [B, D], 0 for padding; valid int32 [B]; masks uint8 [B, D, M, M], probability
            inside the box * 255, rounded. `Detections.from_outputs` takes the arrays of one picture.
        """
        final = {
            "boxes": image_ops.scale_boxes(outputs["boxes"], image_size, picture_size),
            "scores": outputs["scores"],
            "category_ids": tf.gather(tf.constant([0, *self.config.category_ids]), outputs["labels"]),
            "valid": outputs["valid"],
        }
        if "masks" in outputs:
            final["masks"] = tf.cast(tf.round(outputs["masks"] * 255.0), tf.uint8)
        return final

    def call(self, inputs: dict[str, tf.Tensor], training: bool = False) -> dict[str, tf.Tensor]:
        """Returns the detections in a batch of preprocessed images."""
        images, image_sizes = inputs["images"], inputs["image_sizes"]
        features = self.extract_features(images)
        proposals = self.propose(features, images, image_sizes, training=training)
        detections = self.predict_boxes(features, proposals, image_sizes)
        masks = self.predict_masks(features, detections)
        return {**detections._asdict(), "masks": masks}

    def extract_features(self, images: tf.Tensor, training: bool = False) -> list[tf.Tensor]:
        """Computes the maps of every level.

        Args:
            images: as in `call`.
            training: whether batch norms that are not frozen use and update batch statistics.

        Returns:
            A list of float [B, h, w, C], finest first.
        """
        return self.neck(self.backbone(images, training=training), training=training)

    def score_anchors(
        self, features: list[tf.Tensor], images: tf.Tensor
    ) -> tuple[list[tf.Tensor], list[tf.Tensor], list[tf.Tensor]]:
        """Computes the RPN's objectness logits, deltas and anchors: three lists with an entry per level."""
        objectness, deltas = self.rpn(features)
        return objectness, deltas, self.anchors(features, tf.shape(images)[1:3])

    def propose(
        self, features: list[tf.Tensor], images: tf.Tensor, image_sizes: tf.Tensor, training: bool = False
    ) -> Proposals:
        """Computes the RPN's `Proposals` from the maps of `extract_features`; only the size of `images` matters."""
        objectness, deltas, anchors = self.score_anchors(features, images)
        return self.proposals(objectness, deltas, anchors, image_sizes, training=training)

    def predict_boxes(self, features: list[tf.Tensor], proposals: Proposals, image_sizes: tf.Tensor) -> BoxDetections:
        """Computes the `BoxDetections` that the box head makes of `Proposals`."""
        class_logits, deltas = self.box_head(self.box_pool(self.roi_features(features), proposals.boxes))
        return self.detections(class_logits, deltas, proposals, image_sizes)

    def predict_masks(self, features: list[tf.Tensor], detections: BoxDetections) -> tf.Tensor:
        """Computes the mask probabilities float32 [B, D, M, M] of `BoxDetections`, zero for padding."""
        # As many as the image with the most detections has, but at least one, for convolutions of nothing fail in
        # some runtimes.
        most = tf.maximum(tf.reduce_max(detections.valid), 1)
        boxes, labels = detections.boxes[:, :most], detections.labels[:, :most]
        logits = self.mask_head(self.mask_pool(self.roi_features(features), boxes), labels)
        masks = tf.sigmoid(logits) * tf.cast(labels > 0, tf.float32)[:, :, None, None]
        padding = tf.shape(detections.labels)[1] - most
        return tf.pad(masks, [[0, 0], [0, padding], [0, 0], [0, 0]])

    def roi_features(self, features: list[tf.Tensor]) -> list[tf.Tensor]:
        """Returns the levels that RoIs are pooled from: all but a pyramid's coarsest, which only the RPN reads."""
        return features[: len(self.box_pool.strides)]
