"""`keras-mrcnn export`: a trained model for TF Serving and for ONNX Runtime."""

from __future__ import annotations

import click

from keras_mrcnn.cli.locations import FOLDER, WEIGHTS, load_model


def _name(ctx, param, value):
    if value in ("", ".", "..") or set(value) & set('/\\:'):
        raise click.BadParameter(f"{value!r}: it becomes the name of a folder, so no slashes or colons")
    return value


@click.command()
@click.argument("weights", type=WEIGHTS)
@click.option("--name", required=True, callback=_name, help="Name of the model.")
@click.option("--out", type=FOLDER, default="saved_models", help="Folder for all models.")
@click.option("--version", type=click.IntRange(1), help="Version of the SavedModel; by default the next free one.")
@click.option("--format", "form", type=click.Choice(["both", "saved_model", "onnx"]), default="both")
def export(weights, name, out, version, form):
    """Write WEIGHTS (a weight file or the folder of a run) as OUT/NAME/VERSION and OUT/NAME.onnx.

    TF Serving takes every folder under NAME for a version, so the ONNX file stands beside NAME and holds the
    newest one.
    """
    if form == "onnx" and version is not None:
        raise click.UsageError("--version is of the SavedModel; an ONNX file has none")
    model = load_model(weights)
    if form != "onnx":
        from keras_mrcnn.export.saved_model import export_saved_model

        click.echo(f"Wrote the SavedModel to {export_saved_model(model, out / name, version)}.")
    if form != "saved_model":
        from keras_mrcnn.export.onnx import export_onnx

        out.mkdir(parents=True, exist_ok=True)
        click.echo(f"Wrote the ONNX model to {export_onnx(model, out / f'{name}.onnx')}.")
