"""Exceptions of the package. Each message says what to change."""

__all__ = ["ConfigError", "DataError", "Error", "SimulationError"]


class Error(Exception):
    """Base of the package's exceptions."""


class ConfigError(Error, ValueError):
    """A setting that is not one, or that does not go with the others."""


class DataError(Error, ValueError):
    """Arrays that are no data set, or none for this task and this partition."""


class SimulationError(Error, RuntimeError):
    """A task that does not start or cannot go on: no client can train it, say."""
