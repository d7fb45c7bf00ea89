"""Do the exported files give the Python model's detections? Compares all three on a folder of images.

    python scripts/compare_exports.py runs/quickstart saved_models/scenes coco-mini/images/val

reads runs/quickstart/model.safetensors, the newest version in saved_models/scenes and saved_models/scenes.onnx.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime
import tensorflow as tf

from keras_mrcnn import Detector, load_weights
from keras_mrcnn.data.images import read_image


def main(run, exported, folder):
    detector = Detector(load_weights(None, Path(run) / "model.safetensors"))
    newest = max(int(path.name) for path in Path(exported).iterdir() if path.name.isdigit())
    signature = tf.saved_model.load(str(Path(exported) / str(newest))).signatures["detect"]
    session = onnxruntime.InferenceSession(f"{exported}.onnx", providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run_onnx(images):
        return dict(zip(names, session.run(None, {session.get_inputs()[0].name: images})))

    def run_saved_model(images):
        return {name: value.numpy() for name, value in signature(images=tf.constant(images)).items()}

    others = {"SavedModel": run_saved_model, "ONNX Runtime": run_onnx}
    paths, total = sorted(Path(folder).iterdir()), 0
    worst = {name: np.zeros(3) for name in others}
    unlike = dict.fromkeys(others, 0)
    for path in paths:
        images = read_image(path)[None]
        expected = {name: value.numpy() for name, value in detector.detect(tf.constant(images)).items()}
        total += int(expected["valid"][0])
        for name, compute in others.items():
            found = compute(images)
            if not np.array_equal(expected["category_ids"], found["category_ids"]):
                unlike[name] += 1
                continue
            differences = [
                np.abs(expected[key].astype(np.float64) - found[key]).max(initial=0) for key in ("scores", "boxes")
            ]
            masks = np.abs(expected["masks"].astype(np.float64) - found["masks"]).max(initial=0) / 255
            worst[name] = np.maximum(worst[name], [*differences, masks])
    print(f"{total} detections in {len(paths)} images; greatest difference from the Python model:")
    for name, (score, box, mask) in worst.items():
        print(f"  {name:13s} score {score:.1e}  box {box:.1e} px  mask {mask:.1e}  other labels: {unlike[name]} images")


if __name__ == "__main__":
    main(*sys.argv[1:])
