"""How fast SQLite itself takes the rows of records: the limit for `Benchmark records`.

    python3 Benchmarks/peers/records_sqlite.py FILE [ROWS]

Makes a new database with the tables and indexes of FILE, a storage file of Attune that holds records, and inserts rows as Attune does:
by statements of 64 rows, 1,024 rows in a transaction, with a write-ahead log that is not synced. Python's part is the binding of values.
"""
import os
import random
import sqlite3
import sys
import tempfile
import time

TABLES = ("projects", "recordings", "traces", "series", "spans", "record_contents")
SPANS = (
    "ref, project, id, trace, series, kind, status, severity, started_at, duration, request_model, created_at, updated_at"
)
A_STATEMENT, A_TRANSACTION = 64, 1024


def identifier(moment):
    """A UUID of version 7."""
    high, low = moment // 1000 << 16 | 0x7000 | moment % 1000 * 4096 // 1000, random.getrandbits(62) | 1 << 63
    digits = f"{high:016x}{low:016x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def statement(into, columns):
    row = "(" + ",".join("?" * columns) + ")"
    return f"INSERT INTO {into} VALUES " + ",".join([row] * A_STATEMENT)


def measure(definitions, folder, size, rows):
    database = sqlite3.connect(os.path.join(folder, f"{size}.db"), isolation_level=None)
    for pragma in ("journal_mode = WAL", "synchronous = NORMAL", "cache_size = -32768", "foreign_keys = ON"):
        database.execute(f"PRAGMA {pragma}")
    for definition in definitions:
        database.execute(definition)
    database.execute("INSERT INTO projects (ref, name) VALUES (1, x'61')")
    database.execute(
        "INSERT INTO recordings (ref, project, id, scope, sample, status, records, successful, failed, dropped, started_at, created_at,"
        " updated_at) VALUES (1, 1, 's', 'everything', 1, 'active', 0, 0, 0, 0, 0, 0, 0)"
    )
    for task in range(8):
        database.execute(
            "INSERT INTO traces (ref, project, id, created_at, updated_at) VALUES (?, 1, ?, 0, 0)", (task + 1, str(task))
        )
        database.execute(
            "INSERT INTO series (ref, project, recording, name, agent) VALUES (?, 1, 1, 'TEXT_LARGE', ?)",
            (task + 1, f"agent {task}"),
        )
    spans, contents = statement(f"spans ({SPANS})", 13), statement("record_contents (span, input, output)", 3)
    half, start = "x" * (size // 2 - 2), time.time_ns() // 1000
    batches = []
    for first in range(1, rows + 1, A_STATEMENT):
        values = []
        for ref in range(first, first + A_STATEMENT):
            moment = start + 20 * ref
            values += (ref, 1, identifier(moment), ref % 8 + 1, ref % 8 + 1, "model_call", "completed", "info", moment)
            values += (1, str(ref), moment, moment)
        texts = [value for ref in range(first, first + A_STATEMENT) for value in (ref, f'"{half}"', f'"{half}"')]
        batches.append((values, texts))
    begin = time.perf_counter()
    for first in range(0, len(batches), A_TRANSACTION // A_STATEMENT):
        database.execute("BEGIN IMMEDIATE")
        for values, texts in batches[first : first + A_TRANSACTION // A_STATEMENT]:
            database.execute(spans, values)
            database.execute(contents, texts)
        database.execute("COMMIT")
    rate = len(batches) * A_STATEMENT / (time.perf_counter() - begin)
    database.close()
    return rate


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    rows = int(sys.argv[2]) if len(sys.argv) == 3 else 100_000
    source = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
    definitions = [
        sql
        for (sql,) in source.execute(
            "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND type IN ('table', 'index')"
            f" AND tbl_name IN ({','.join('?' * len(TABLES))}) ORDER BY type DESC, rowid",
            TABLES,
        )
    ]
    if not any("record_contents" in definition for definition in definitions):
        sys.exit(f"{sys.argv[1]} holds no tables of records")
    with tempfile.TemporaryDirectory() as folder:
        for size in (512, 4096):
            print(f"{size} bytes\t{measure(definitions, folder, size, rows):.0f}/s")


if __name__ == "__main__":
    main()
