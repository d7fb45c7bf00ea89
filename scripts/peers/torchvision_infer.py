"""torchvision's inference on the picture of `scripts/benchmark.py infer`; prints one line of JSON.

    python scripts/peers/torchvision_infer.py fp32|bf16 [paste|nopaste] [eager|channels_last|onnx]

Mask R-CNN R50-FPN, random weights, 100 detections; without pasting, masks stay 28 x 28. `onnx` exports the model with
torch's own exporter and runs the file in ONNX Runtime (needs onnx and onnxruntime), always with pasting left out.
"""

import contextlib
import json
import resource
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
from torchvision.models.detection import maskrcnn_resnet50_fpn

HEIGHT, WIDTH, RUNS, WARM_UP = 800, 1088, 7, 2


def eager(model, image):
    return lambda: len(model([image])[0]["boxes"])


def in_onnx_runtime(model, image):
    import onnxruntime

    path = Path(tempfile.mkdtemp(), "torchvision.onnx")
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        torch.onnx.export(model, ([image],), str(path), opset_version=17, dynamo=False, input_names=["image"])
    session = onnxruntime.InferenceSession(str(path))
    feed = {session.get_inputs()[0].name: image.numpy()}
    return lambda: len(session.run(None, feed)[0])


def main(precision="fp32", paste="paste", how="channels_last"):
    torch.manual_seed(0)
    model = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None).eval()
    if how == "channels_last":
        model = model.to(memory_format=torch.channels_last)
    if paste == "nopaste":
        model.transform.postprocess = lambda result, shapes, original: result
    image = torch.rand(3, HEIGHT, WIDTH)
    amp = torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()
    with torch.inference_mode(how != "onnx"), torch.no_grad(), amp:
        run = in_onnx_runtime(model, image) if how == "onnx" else eager(model, image)
        seconds = []
        for _ in range(RUNS):
            start = time.perf_counter()
            detections = run()
            seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    facts = {"median_s": statistics.median(seconds[WARM_UP:]), "min_s": min(seconds), "detections": detections}
    print(json.dumps({**facts, "peak_memory_mb": round(peak)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
