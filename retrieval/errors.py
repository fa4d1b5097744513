"""Errors whose message is one line for people; anything else is a bug and keeps its traceback."""

from retrieval.codes import FAILURES, look_up


class ParetrieveError(Exception):
    """An error that a person can act on; the message says what is wrong and how to mend it."""


class ConfigError(ParetrieveError):
    """The configuration asks for something that cannot be (exit status 2)."""


class DataError(ParetrieveError):
    """A collection is malformed: the message names file, line and reason."""


class DownloadError(ParetrieveError):
    """A collection cannot be fetched: the message says what to download and where to put it."""


class TrainingError(ParetrieveError):
    """Training cannot go on; ``code`` is one of the registry, which gives the remedy."""

    def __init__(self, code: str, message: str) -> None:
        self.code = code
        super().__init__(f"{code}: {message}; {look_up(code, FAILURES).remedy}")


class StorageError(ParetrieveError):
    """A disk does not take what a run writes: full, over quota, read-only, or no permission."""


def root_cause(error: BaseException) -> BaseException:
    """The error that others were raised from."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def first_line(error: BaseException) -> str:
    """What a library's error says first, or its type: for a message of one line, 200 characters at most."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
