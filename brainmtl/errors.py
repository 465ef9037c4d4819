"""Errors a user can cause and mend: the message names the file or value, the rule and the remedy."""


class BrainMTLError(ValueError):
    """Base of every error that is reported to the user without a traceback."""


class DataError(BrainMTLError):
    """A file, folder or array that breaks a rule of this project."""


class ConfigError(BrainMTLError):
    """An option, or a combination of options, that cannot work."""


def check_count(option: str, value: object, least: int = 1) -> None:
    """Raise ConfigError unless ``value`` is a whole number of at least ``least``."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or value < least:
        kind = "" if whole else "a whole number of "
        raise ConfigError(f"{option}={value} must be {kind}at least {least}")
