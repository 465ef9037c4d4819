"""Errors a user can cause and mend: the message names the file or value, the rule and the remedy."""


class BrainMTLError(ValueError):
    """Base of every error that is reported to the user without a traceback."""


class DataError(BrainMTLError):
    """A file, folder or array that breaks a rule of this project."""


class ConfigError(BrainMTLError):
    """An option, or a combination of options, that cannot work."""
