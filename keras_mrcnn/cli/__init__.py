"""The command line, `keras-mrcnn`.

TensorFlow takes seconds to import, so each command imports what it needs when it runs.
"""

from __future__ import annotations

from typing import Any

import click

from keras_mrcnn import __version__
from keras_mrcnn.base.errors import UserError
from keras_mrcnn.cli.data import data
from keras_mrcnn.cli.evaluate import evaluate
from keras_mrcnn.cli.export import export
from keras_mrcnn.cli.predict import predict
from keras_mrcnn.cli.report import report
from keras_mrcnn.cli.train import train
from keras_mrcnn.cli.video import video
from keras_mrcnn.cli.weights import weights

# Errors about input and those of the operating system; anything else is a fault in the program.
EXPECTED = (UserError, OSError)
INTERRUPTED = 130  # 128 + SIGINT, as shells report it


class ErrorLines(click.Group):
    """A group of commands that report expected errors in one line on stderr."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a command; an expected error ends the program with one line on stderr and an exit status."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # nobody reads our output any more; click ends quietly
        except KeyboardInterrupt as error:
            code, message = INTERRUPTED, str(error) or "interrupted"
        except Exception as error:
            code, message = 1, _sentence(error)
            if not message or ctx.params["debug"]:
                raise
        click.echo(f"keras-mrcnn: {message}", err=True)
        ctx.exit(code)


def _sentence(error):
    """Returns what to tell the user about an error; None if it is a fault in the program or click handles it."""
    # By name, because TensorFlow may not be imported here.
    if type(error).__name__ == "ResourceExhaustedError":
        return "the device has not enough memory; lower the batch size or model.min_size"
    return (str(error) or type(error).__name__) if isinstance(error, EXPECTED) else None


@click.group(cls=ErrorLines, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__, prog_name="keras-mrcnn")
@click.option("--debug", is_flag=True, help="Show where in the program an error came up.")
def main(debug: bool) -> None:
    """Mask R-CNN for Keras: prepare data, train in three stages, evaluate, predict, export."""


for command in (data, train, evaluate, report, predict, video, export, weights):
    main.add_command(command)
