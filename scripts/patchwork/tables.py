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
# What linear probes on a readout of frozen features find: a row for each protocol and readout.
PROBES = pa.schema(
    [
        ("protocol", pa.string()),  # validated; authors; authors, batch statistics
        ("blocks", pa.string()),  # whose tokens are read: last, block, last4, all
        ("block", pa.int16()),  # the number of a single one, from 1; null for the others
        ("patch", pa.string()),  # mean patch tokens beside class tokens: none, last (block's), each (block's)
        ("width", pa.int32()),  # of the readout
        ("parameters", pa.int64()),  # of the linear classifier
        ("classes", pa.int32()),
        ("penalty", pa.float32()),  # lambda, chosen on the validation images; null where none is chosen
        ("validation_top1", pa.float32()),  # with that; null where nothing is validated
        ("last_top1", pa.float32()),  # on test images after the last epoch, if the best one counts
        ("top1", pa.float32()),  # on the test images
        ("train_images", pa.int32()),  # of the last fit, validation images among them
        ("images", pa.int32()),  # that are tested
        ("correct", pa.list_(pa.bool_())),  # of each of these, in the order of the index
    ]
)

# What classifiers find that learn from a few images: a row for each episode, readout and classifier.
FEW_SHOTS = pa.schema(
    [
        ("readout", pa.string()),  # last, last4: blocks
        ("classifier", pa.string()),  # logistic, centroid
        ("setting", pa.string()),  # like 5-way 1-shot; variable
        ("seed", pa.int16()),
        ("episode", pa.int32()),
        ("ways", pa.int16()),  # classes of the episode
        ("supports", pa.int16()),  # images that are learnt from, of all classes together
        ("queries", pa.int16()),  # that are decided, of all classes together
        ("accuracy", pa.float32()),  # over the queries
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
