"""What a caller of labkit may want to catch."""

from __future__ import annotations


class LabkitError(Exception):
    """Base of all errors that labkit raises on purpose; the message is meant for the user."""


class ParameterError(LabkitError, ValueError):
    """A parameter has an unknown name, a wrong type or a value that is not allowed."""


class MissingDataError(LabkitError, FileNotFoundError):
    """A data set is neither on this machine nor to be had from its source."""
