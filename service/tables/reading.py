"""A CSV or Parquet file as columns of text: encoding, separator and header found out."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from service.errors import ConfigurationError

SEPARATORS = (",", ";", "\t", "|")
LOOKED_AT = 200
"""Lines by which the separator is chosen."""

JAPANESE = re.compile("[\u3040-\u30ff\u4e00-\u9fff]")
NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")


@dataclass
class File:
    """What a file holds: names and cells of its columns, as they stand there, row by row.

    ``encoding`` and ``separator`` are what it was read by; ``doubts`` is what a person should know
    of how it was read.
    """

    names: list[str]
    columns: list[list[str]]
    encoding: str = ""
    separator: str = ""
    doubts: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return len(self.columns[0]) if self.columns else 0

    def column(self, name: str) -> list[str]:
        """Raises ConfigurationError."""
        if name not in self.names:
            raise ConfigurationError(f"expected one of the columns {self.names}, found {name!r}")
        return self.columns[self.names.index(name)]


def read(path: Path, encoding: str | None = None, separator: str | None = None) -> File:
    """Read a file whole; ``encoding`` and ``separator`` where they are known.

    Raises
    ------
    ConfigurationError
        It cannot be read, or is no table; says what was expected and found.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: expected a CSV or Parquet file: {error}") from error
    if data.startswith(b"PAR1"):
        return _parquet(path)
    try:
        used = encoding or _encoding(data)
        text = data.decode(used)
    except (UnicodeDecodeError, LookupError) as error:
        raise ConfigurationError(
            f"{path}: expected text in {encoding or 'UTF-8'}: {error}; say --encoding"
        ) from error
    if not text.strip():
        raise ConfigurationError(f"{path}: expected a header and rows, found nothing")
    chosen = separator or _separator(text)
    # No cell is as long as this in an honest file; the csv module's own bound is less.
    csv.field_size_limit(1 << 20)
    try:
        lines = [line for line in csv.reader(io.StringIO(text), delimiter=chosen) if any(line)]
    except csv.Error as error:
        raise ConfigurationError(f"{path}: expected CSV, found {error}") from error
    return _table(path, lines, used, chosen)


def _encoding(data: bytes) -> str:
    if data.startswith(b"\xef\xbb\xbf"):
        return "utf-8-sig"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    head = data[:4000]
    if head.count(b"\0") > len(head) // 4:
        # Of most characters the one byte is 0, on the same side.
        little = head[1::2].count(b"\0") > head[::2].count(b"\0")
        return "utf-16-le" if little else "utf-16-be"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        # Excel in Japan, or in Western Europe.
        try:
            return "cp932" if JAPANESE.search(data.decode("cp932")) else "cp1252"
        except UnicodeDecodeError:
            return "cp1252"
    return "utf-8"


def _separator(text: str) -> str:
    """That by which most lines have equally many cells, and these most."""
    head = "\n".join(text.splitlines()[:LOOKED_AT])
    best, score = ",", (0.0, 0)
    for separator in SEPARATORS:
        counts = Counter(len(line) for line in csv.reader(io.StringIO(head), delimiter=separator))
        cells, often = counts.most_common(1)[0]
        found = (often / counts.total(), cells)
        if cells > 1 and found > score:
            best, score = separator, found
    return best


def _table(path: Path, lines: list[list[str]], encoding: str, separator: str) -> File:
    header = [name.strip() for name in lines[0]]
    doubts = []
    rows = lines[1:]
    if header and all(NUMBER.fullmatch(name) for name in header):
        doubts.append("the first line has numbers alone, so there is no header: c1, c2, … it is")
        header, rows = [f"c{k + 1}" for k in range(len(header))], lines
    repeated = [row for row in rows if [c.strip() for c in row] == header]
    if repeated:
        doubts.append(f"the header comes {len(repeated)} more times; these lines are left out")
        rows = [row for row in rows if [c.strip() for c in row] != header]
    names = _distinct(header, doubts)
    odd = sum(len(row) != len(names) for row in rows)
    if odd:
        doubts.append(
            f"{odd} of {len(rows)} lines have another number of cells than the header, "
            f"{len(names)}; they are left out"
        )
        rows = [row for row in rows if len(row) == len(names)]
    if not rows:
        said = ", ".join(header)[:200]
        raise ConfigurationError(f"{path}: expected rows below the header {said}, found none")
    columns = [[cell.strip() for cell in column] for column in zip(*rows, strict=True)]
    return File(names, columns, encoding, separator, doubts)


def _distinct(header: Sequence[str], doubts: list[str]) -> list[str]:
    names: list[str] = []
    for place, name in enumerate(header, 1):
        chosen = name or f"c{place}"
        count = 2
        while chosen in names:
            chosen = f"{name or f'c{place}'}_{count}"
            count += 1
        if chosen != name:
            doubts.append(f"column {place} is named {name!r}: called {chosen!r} here")
        names.append(chosen)
    return names


def _parquet(path: Path) -> File:
    try:
        from pyarrow import ArrowException, parquet
    except ModuleNotFoundError:
        raise ConfigurationError(f"{path}: needs pyarrow: pip install 'apical[parquet]'") from None
    try:
        table = parquet.read_table(path)
    except (ArrowException, OSError) as error:
        raise ConfigurationError(f"{path}: expected a Parquet file: {error}") from error
    doubts: list[str] = []
    names = _distinct([str(name) for name in table.column_names], doubts)
    columns = [["" if v is None else str(v) for v in c.to_pylist()] for c in table.columns]
    return File(names, columns, "Parquet", "", doubts)
