"""Runs `keras-mrcnn` within the tests' own process."""

from __future__ import annotations

from click.testing import CliRunner

from keras_mrcnn.cli import main


def run(*arguments):
    """Runs the command line and returns click's result; `output` has stdout and stderr."""
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def error_line(result, code=1):
    """The one line that a command ends with."""
    assert result.exit_code == code, result.output
    lines = result.output.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("keras-mrcnn: "), result.output
    return lines[0].removeprefix("keras-mrcnn: ")
