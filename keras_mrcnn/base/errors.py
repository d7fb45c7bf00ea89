"""What the package raises about input that it cannot use."""

from __future__ import annotations


class UserError(ValueError):
    """Input, a setting or an installation that cannot be used; the message says in one sentence what to do.

    The command line prints the message alone. Every other `ValueError` is a fault in the program and shows its
    traceback.
    """


class MissingPackageError(UserError, ImportError):
    """An optional package that is not installed; the message says how to install it."""
