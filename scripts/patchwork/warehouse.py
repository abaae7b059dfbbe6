"""One DuckDB file that answers every question of the report: built once (see building), then only read."""

import os
import re
from contextlib import contextmanager
from pathlib import Path

import duckdb

from patchwork import documentation, files

HEADER_BYTES = 3 * 4096  # of a DuckDB file, before its blocks
# DuckDB's words; by a checksum it finds its own file alone.
DAMAGED = re.compile(r"(?:from|of) file ['\"](.+?)['\"]|Corrupt database file")


class Lacking(ValueError):
    """A warehouse has no table or column of a name that it is asked for."""


@contextmanager
def reading(path):
    """A connection that only reads; its views find their files beside the warehouse.

    Raises ValueError naming what is damaged, the warehouse or a parquet file that a view reads; and Lacking,
    which names a table or a column that is asked of the warehouse and not there.
    """
    try:
        with files.reading(path):
            opened = duckdb.connect(path, read_only=True)
        with opened as db:
            with files.reading(path):
                check_size(db, path)
            relocate(db, path)
            yield db
    except (duckdb.CatalogException, duckdb.BinderException) as error:
        reason = str(error).partition("\n")[0]
        remedy = "if another version has built it, snakemake --forcerun build_warehouse builds it again"
        raise Lacking(f"{path} lacks what it is asked for ({reason}): {remedy}") from error
    except duckdb.Error as error:
        damaged = DAMAGED.search(str(error))
        if not damaged:
            raise
        raise ValueError(f"{damaged[1] or path} is damaged: delete it and run again") from error


def relocate(db, path):
    """Let views find their files in the folder of the warehouse, whatever that is called now, and from
    wherever it is read."""
    [(before,)] = db.execute("SELECT folder FROM built_in").fetchall()
    folder = str(Path(path).parent)
    if folder == before:
        return
    told = "SELECT sql FROM duckdb_views() WHERE NOT internal AND contains(sql, 'read_parquet')"
    for (sql,) in db.execute(told).fetchall():
        here, there = (documentation.literal(f"{each}/").removesuffix("'") for each in (before, folder))
        db.execute(sql.replace("CREATE VIEW", "CREATE TEMP VIEW", 1).replace(here, there))


def check_size(db, path):
    """Raise ValueError if the file of a database is shorter than it says; DuckDB sees what it reads alone."""
    [(blocks, block_bytes)] = db.sql("SELECT total_blocks, block_size FROM pragma_database_size()").fetchall()
    if os.path.getsize(path) < HEADER_BYTES + blocks * block_bytes:
        raise ValueError(f"{path} is cut short")


def query(path, sql):
    """The result of a query on a warehouse, as an Arrow table."""
    with reading(path) as db:
        return db.sql(sql).to_arrow_table()
