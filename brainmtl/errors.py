"""Errors a user can cause and mend: the message names the file or value, the rule and the remedy."""

from typing import Self


class BrainMTLError(ValueError):
    """Base of every error that is reported to the user without a traceback."""


class DataError(BrainMTLError):
    """A file, folder or array that breaks a rule of this project."""


class ConfigError(BrainMTLError):
    """An option, or a combination of options, that cannot work.

    Where commands have another name for an option than the code that refuses it, ``message`` is a format
    of ``parts``: that name under its own, ``precision="precision"``, and the values.
    """

    def __init__(self, message: str, **parts: object) -> None:
        super().__init__(message.format(**parts) if parts else message)
        self.message, self.parts = message, parts

    def renamed(self, **names: str) -> Self:
        """The same error as a caller says it that calls options by ``names``."""
        own = {name: names.get(name, part) for name, part in self.parts.items()}
        return type(self)(self.message, **own)


def check_count(option: str, value: object, least: int = 1) -> None:
    """Raise ConfigError unless ``value`` is a whole number of at least ``least``."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or value < least:
        kind = "" if whole else "a whole number of "
        raise ConfigError(f"{option}={value} must be {kind}at least {least}")
