"""A figure is a file with a query (SQL) and a function that makes a chart of its rows."""

import runpy
from contextlib import contextmanager

import duckdb

from patchwork import theme, warehouse


def draw(figure, path, caption):
    """The Vega-Lite specification (JSON) of the figure in a file, of the rows of the warehouse at `path`.

    Raises ValueError naming the file if it cannot be run, or its query or its chart fails.
    """
    with naming(figure):
        parts = runpy.run_path(figure)
        sql, chart = parts["SQL"], parts["chart"]
    with naming(figure, (duckdb.Error, warehouse.Lacking)):  # a damaged warehouse is told as such
        rows = warehouse.query(path, sql)
    with naming(figure):
        return theme.specification(chart(rows), caption)


@contextmanager
def naming(figure, kind=Exception):
    """Put the file of a figure before the first line of an error of these kinds."""
    try:
        yield
    except kind as error:
        told = str(error).strip().partition("\n")[0]
        raise ValueError(f"{figure}: {type(error).__name__}: {told}") from error
