"""Events as a Parquet file, for those who keep or read them elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from model_store.durable import whole
from model_store.log.database import EVENT_COLUMNS
from model_store.log.records import Record


def write_events(path: Path, events: Iterable[tuple[Record, bytes]]) -> int:
    """Write events with their checksums, one row each; the number of them.

    Raises
    ------
    ModuleNotFoundError
        pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "exporting events needs pyarrow: install apical[parquet]", name="pyarrow"
        ) from error
    kinds = {"seq": pa.int64(), "snapshot": pa.int64(), "received_at": pa.float64(),
             "observed_at": pa.float64(), "payload": pa.binary(), "reply": pa.binary(),
             "checksum": pa.binary()}  # fmt: skip
    names = EVENT_COLUMNS.replace(" ", "").split(",")
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in names])
    written = 0
    with whole(path) as partial, pq.ParquetWriter(partial, schema, compression="zstd") as writer:
        for rows in _chunks(events, 512):
            table = [(*event.row(), checksum) for event, checksum in rows]
            columns = [list(column) for column in zip(*table, strict=True)]
            writer.write_table(pa.table(dict(zip(names, columns, strict=True)), schema))
            written += len(rows)
    return written


def _chunks(
    events: Iterable[tuple[Record, bytes]], size: int
) -> Iterator[list[tuple[Record, bytes]]]:
    iterator = iter(events)
    while chunk := list(islice(iterator, size)):
        yield chunk
