"""Files of synonyms that a configuration names."""

from pathlib import Path

from retrieval.errors import ConfigError


def need_synonyms(chosen: str, key: str, path: str | None) -> None:
    """Refuse a choice (``key=value``) that needs the list of synonyms of ``key`` and does not have it.

    Raises:
        ConfigError: Names the key, the value and the fix.
    """
    if path is None:
        raise ConfigError(
            f"{chosen} needs a list of words; set {key} to a JSON file, word -> list of synonyms"
        )
    if not Path(path).is_file():
        raise ConfigError(f"{key}={path}: no such file; give a JSON file of synonyms")
