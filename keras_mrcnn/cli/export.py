"""`keras-mrcnn export`: writes a trained model for TF Serving and for ONNX Runtime."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from keras_mrcnn.cli.locations import EXISTING_FOLDER, FOLDER, WEIGHTS, load_model, split_files
from keras_mrcnn.cli.tensorflow_start import import_tensorflow

FORMATS = {"float32": ("saved_model", "onnx"), "bfloat16": ("saved_model",), "int8": ("onnx",)}
ONLY = {
    "bfloat16": "bfloat16 is a SavedModel only: ONNX Runtime's CPU kernels do not compute in it",
    "int8": "int8 is an ONNX file only: TensorFlow has no integer kernels for this graph",
}


def _name(ctx, param, value):
    if value in ("", ".", "..") or set(value) & set("/\\:"):
        raise click.BadParameter(f"{value!r}: it becomes the name of a folder, so no slashes or colons")
    return value


@click.command()
@click.argument("weights", type=WEIGHTS)
@click.option("--name", required=True, callback=_name, help="Name of the model.")
@click.option("--out", type=FOLDER, default="saved_models", help="Folder for all models.")
@click.option("--version", type=click.IntRange(1), help="Version of the SavedModel; by default the next free one.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["both", "saved_model", "onnx"]),
    default="both",
    help="What to write: a SavedModel for TF Serving, an ONNX file, or both as far as --precision allows.",
)
@click.option("--precision", type=click.Choice(list(FORMATS)), default="float32", help="What the networks compute in.")
@click.option("--onnx-input", type=click.Choice(["uint8", "float32"]), default="uint8", help="Type of the ONNX input.")
@click.option("--data", type=EXISTING_FOLDER, help="COCO data set with train and val, for bfloat16 and int8.")
@click.option("--calibration-images", type=click.IntRange(1), default=100, help="Of --data's train images, for int8.")
@click.option("--score-images", type=click.IntRange(1), help="Of --data's val images; by default all.")
def export(
    weights: Path,
    name: str,
    out: Path,
    version: int | None,
    form: str,
    precision: str,
    onnx_input: str,
    data: Path | None,
    calibration_images: int,
    score_images: int | None,
) -> None:
    """Write WEIGHTS as OUT/NAME/VERSION and OUT/NAME.onnx.

    WEIGHTS is a weight file, the folder of a run, or a name that `weights list` prints.

    TF Serving takes every folder under NAME for a version, so the ONNX file stands beside NAME and holds the
    newest one.

    bfloat16 writes OUT/NAME-bfloat16/VERSION alone, int8 OUT/NAME-int8.onnx alone. int8 measures the ranges of its
    integers on train images of --data. Of both, what the AP on --data's val images loses against float32 is printed.
    """
    forms = _checked_forms(form, precision, version, onnx_input, data)
    import_tensorflow()
    from keras_mrcnn.cli.export_accuracy import open_validation
    from keras_mrcnn.export.model_card import read_metrics

    model, metrics = load_model(weights), read_metrics(weights)
    val = None if data is None else open_validation(data, model.config)
    if precision == "int8":
        _export_int8(model, out / f"{name}-int8.onnx", onnx_input, metrics, data, calibration_images, val, score_images)
        return
    if "saved_model" in forms:
        from keras_mrcnn.export.saved_model import export_saved_model

        folder = out / (name if precision == "float32" else f"{name}-{precision}")
        path = export_saved_model(model, folder, version, precision=precision, metrics=metrics)
        click.echo(f"Wrote the SavedModel to {path}.")
        if val is not None:
            _print_bfloat16_ap_change(model, path, val, score_images)
    if "onnx" in forms:
        from keras_mrcnn.export.onnx import export_onnx

        path = export_onnx(model, out / f"{name}.onnx", input_dtype=onnx_input, metrics=metrics)
        click.echo(f"Wrote the ONNX model to {path}.")


def _checked_forms(form, precision, version, onnx_input, data):
    """Returns which of "saved_model" and "onnx" to write."""
    if form not in ("both", *FORMATS[precision]):
        raise click.UsageError(ONLY[precision])
    forms = FORMATS[precision] if form == "both" else (form,)
    if "saved_model" not in forms and version is not None:
        raise click.UsageError("--version is of the SavedModel; an ONNX file has none")
    if "onnx" not in forms and onnx_input != "uint8":
        raise click.UsageError("--onnx-input is of the ONNX file; a SavedModel takes uint8")
    if precision == "int8" and data is None:
        raise click.UsageError("int8 measures its ranges on images: name a COCO data set with --data")
    if precision == "float32" and data is not None:
        raise click.UsageError("--data is for bfloat16 and int8; to score float32 use `keras-mrcnn evaluate`")
    return forms


def _export_int8(model, path, onnx_input, metrics, data, calibration_images, val, score_images):
    """Writes and scores the int8 file; the float32 file that it is made from is temporary."""
    from keras_mrcnn.cli.export_accuracy import choose_images, print_ap_change
    from keras_mrcnn.data.prepared import open_dataset
    from keras_mrcnn.export.int8 import quantize_onnx
    from keras_mrcnn.export.model_card import model_card
    from keras_mrcnn.export.onnx import export_onnx
    from keras_mrcnn.serving.onnx_predictor import OnnxPredictor

    train = open_dataset(*split_files(data, "train"), channels=model.config.channels)
    image_ids = choose_images(train, calibration_images)
    card = model_card(model, name=path.stem, files=(path.name,), variant="int8", metrics=metrics)
    with tempfile.TemporaryDirectory() as folder:
        source = export_onnx(model, Path(folder, "float32.onnx"), input_dtype=onnx_input, metrics=metrics)
        images = map(train.load_image, image_ids)
        quantize_onnx(source, path, images, total=len(image_ids), metadata={"model_card": card})
        click.echo(f"Wrote the ONNX model to {path}.")
        print_ap_change(val, score_images, "int8", OnnxPredictor(source), OnnxPredictor(path))


def _print_bfloat16_ap_change(model, path, val, score_images):
    from keras_mrcnn.cli.export_accuracy import print_ap_change, saved_model_detector

    variant = saved_model_detector(path, model.config.category_ids, model.config.class_names)
    print_ap_change(val, score_images, "bfloat16", lambda image: model.predict([image])[0], variant)
