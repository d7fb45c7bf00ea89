"""Exceptions for input that the package cannot use."""

from __future__ import annotations


class UserError(ValueError):
    """An error in the user's input, settings or installation; the message says in one sentence what to do.

    The command line prints only the message. Any other `ValueError` is a bug in the program, and shows its traceback.
    """


class MissingPackageError(UserError, ImportError):
    """An error for an optional package that is not installed; the message says how to install it."""
