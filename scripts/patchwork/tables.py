"""The columns of every parquet file of predictions, and the only writer of them."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

PREDICTIONS = pa.schema(
    [
        ("level", pa.float32()),  # of the perturbation, in the unit of its AXIS
        ("seed", pa.int16()),
        ("image", pa.int32()),  # row in the packed images
        ("label", pa.int16()),
        ("pred", pa.int16()),
        ("rank", pa.int16()),  # of the true class: 0 is top-1, so any top-k is a query
        ("prob", pa.float16()),  # of the true class
        ("confidence", pa.float16()),  # the probability of pred
        ("lost", pa.float32()),  # true share of the pixels blacked out
        # The share of the model's tokens blacked out wholly, and in part; null for a model without tokens.
        ("tokens_lost", pa.float16()),
        ("tokens_cut", pa.float16()),
    ]
)


def predictions(level, seed, columns):
    """A table of one cell from numpy columns, those of PREDICTIONS but level and seed. NaN shares of tokens
    become null."""
    images = len(columns["image"])
    columns |= {"level": np.full(images, level), "seed": np.full(images, seed)}
    arrays = [np.asarray(columns[field.name], field.type.to_pandas_dtype()) for field in PREDICTIONS]
    nullable = [name.startswith("tokens") for name in PREDICTIONS.names]
    return pa.table([pa.array(a, from_pandas=n) for a, n in zip(arrays, nullable, strict=True)], PREDICTIONS)


def write(path, cells, metadata):
    """Write tables of PREDICTIONS, a row group each, so that a query for one level reads its part only.

    Equal tables give equal bytes. The caller takes care of the temporary name (files.whole).
    """
    schema = PREDICTIONS.with_metadata(metadata)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for cell in cells:
            writer.write_table(cell.cast(schema), row_group_size=max(1, len(cell)))
