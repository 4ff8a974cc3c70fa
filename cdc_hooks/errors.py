"""The errors this program raises on purpose.

Every message says what was wrong, where, and what to do. ``cli`` turns them into one line and an exit status;
nothing else catches them by base class.
"""

from __future__ import annotations


class CdcHooksError(Exception):
    """Base of all errors that a person can act on. ``hint`` says what to do, in one sentence."""

    exit_status = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


class ConfigError(CdcHooksError):
    """The configuration file, an environment variable or an argument is wrong."""

    exit_status = 2


class DatabaseError(CdcHooksError):
    """The database cannot be used as it is: unreachable, too old, missing rights, wrong schema version."""


class Superseded(CdcHooksError):
    """Another daemon has taken over: this one may neither send nor acknowledge any more."""
