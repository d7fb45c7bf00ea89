"""torchvision's inference on the picture of `scripts/benchmark.py infer`; prints one line of JSON.

    python scripts/peers/torchvision_infer.py fp32|bf16 [paste|nopaste] [compile|channels_last|eager|onnx]

Mask R-CNN R50-FPN, random weights, 100 detections; without pasting, masks stay 28 x 28. The ways to run it:

    eager           as torchvision's documentation has it
    channels_last   the same with convolutions in channels-last memory, under bf16 with autocast
    compile         channels last; backbone and FPN compiled by torch.compile with frozen weights (needs a C++ compiler)
    onnx            exported by torch's own exporter and run in ONNX Runtime (needs onnx and onnxruntime), always with
                    pasting left out
"""

import contextlib
import json
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
from peak_memory import peak_memory_mb
from torchvision.models.detection import maskrcnn_resnet50_fpn

HEIGHT, WIDTH, RUNS, WARM_UP = 800, 1088, 7, 2


def prepared(model, how):
    """The model in the memory format of `how`, and with its backbone compiled."""
    if how in ("channels_last", "compile"):
        model = model.to(memory_format=torch.channels_last)
    if how == "compile":
        from torch._inductor import config

        config.freezing = True  # weights become constants, stored as the CPU's convolutions want them
        model.backbone = torch.compile(model.backbone, dynamic=False)
    return model


def in_onnx_runtime(model, image):
    import onnxruntime

    path = Path(tempfile.mkdtemp(), "torchvision.onnx")
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        torch.onnx.export(model, ([image],), str(path), opset_version=17, dynamo=False, input_names=["image"])
    session = onnxruntime.InferenceSession(str(path))
    feed = {session.get_inputs()[0].name: image.numpy()}
    return lambda: len(session.run(None, feed)[0])


def main(precision="fp32", paste="paste", how="compile"):
    torch.manual_seed(0)
    model = prepared(maskrcnn_resnet50_fpn(weights=None, weights_backbone=None).eval(), how)
    if paste == "nopaste":
        model.transform.postprocess = lambda result, shapes, original: result
    image = torch.rand(3, HEIGHT, WIDTH)
    amp = torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()
    with torch.inference_mode(how not in ("compile", "onnx")), torch.no_grad(), amp:
        run = in_onnx_runtime(model, image) if how == "onnx" else lambda: len(model([image])[0]["boxes"])
        seconds = []
        for _ in range(RUNS):
            start = time.perf_counter()
            detections = run()
            seconds.append(time.perf_counter() - start)
    facts = {"median_s": statistics.median(seconds[WARM_UP:]), "min_s": min(seconds), "detections": detections}
    print(json.dumps({**facts, "peak_memory_mb": peak_memory_mb()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
