"""Streams that come with River, as if they were files: ``river:Shuttle``.

Only those that lie in River's own package, so that no network is asked, and that tell classes by
readings; River's others are downloaded at their first use, or are no such thing.
"""

from __future__ import annotations

from pathlib import Path

from service.errors import ConfigurationError
from service.tables.reading import File

PREFIX = "river:"
TARGET = "label"
"""The column of labels."""

NAMES = ("Bananas", "ImageSegments", "Phishing", "Shuttle")

WORDS = {"Shuttle": {"0": "normal", "1": "anomaly"}}
"""Classes by names that people know, where the stream has only numbers."""


def is_example(path: Path) -> bool:
    """Whether what was said in place of a file is the name of an example."""
    return str(path).startswith(PREFIX)


def name_of(path: Path) -> str:
    """The example's name, known to be one. Raises ConfigurationError."""
    name = str(path)[len(PREFIX) :]
    if name not in NAMES:
        known = ", ".join(f"{PREFIX}{one}" for one in NAMES)
        raise ConfigurationError(
            f"expected a file or one of the examples {known}, found {str(path)!r}; River's other "
            "data sets are downloaded, or are no classes told by readings"
        )
    return name


def read_example(path: Path) -> File:
    """The whole stream, its labels in the column `TARGET`.

    Raises
    ------
    ConfigurationError
        No example has this name, or River is not installed.
    """
    name = name_of(path)
    pairs = list(_stream(path))
    names = list(pairs[0][0])
    words = WORDS.get(name, {})
    columns = [[str(row[key]) for row, _ in pairs] for key in names]
    labels = [words.get(str(label), str(label)) for _, label in pairs]
    return File([*map(str, names), TARGET], [*columns, labels], "River's")


def bytes_of(path: Path) -> bytes:
    """What is on the disk of a file or an example. Raises ConfigurationError and OSError."""
    if not is_example(path):
        return path.read_bytes()
    found: bytes = Path(_stream(path).path).read_bytes()
    return found


def _stream(path: Path):  # type: ignore[no-untyped-def]  # River has no types
    name = name_of(path)
    try:
        from river import datasets
    except ModuleNotFoundError:
        raise ConfigurationError(f"{path}: needs river: pip install 'apical[demo]'") from None
    return getattr(datasets, name)()
