"""Two runs compared: which of their numbers moved by more than the draw of images explains.

Both have decided the very same images, so every number is compared image by image.
"""

from collections import defaultdict
from tempfile import TemporaryDirectory

import duckdb
import numpy as np
import pyarrow as pa
from scipy import fft, stats

from patchwork import warehouse

FALSE_SHARE = 0.05  # of the numbers that are told to have moved, in expectation and at most
SMALLEST_P = 1e-12  # below it the rounding of a Fourier transform shows
NORMAL_95 = 1.959963984540054
UNTOUCHED = "untouched images"
CELL = ["dataset", "model", "perturbation", "variant", "level"]
COMPARED = pa.schema(
    [
        ("measure", pa.string()),  # top-1, shape bias, ...
        *((name, pa.string()) for name in CELL[:-1]),  # a measure has no perturbation
        ("level", pa.float64()),  # null where there is none
        ("seeds", pa.int32()),  # that both runs have; null of a measure
        ("units", pa.int64()),  # images, or episodes; null of a number that is in one run alone
        ("changed_units", pa.int64()),
        ("before", pa.float64()),
        ("after", pa.float64()),
        ("difference", pa.float64()),
        ("low", pa.float64()),  # of its 95 % interval
        ("high", pa.float64()),
        ("p", pa.float64()),
        ("p_adjusted", pa.float64()),  # for the number of numbers that differ
        ("moved", pa.bool_()),
    ]
)
DATASETS = "SELECT dataset FROM asked UNION SELECT dataset FROM measures"
IMAGES = "SELECT dataset, image, class_name, path FROM images WHERE image IS NOT NULL"
# The first image of a dataset of both runs that is another one, and how many images each has.
OTHER_IMAGES = """
WITH
    both_runs AS (
        SELECT
            dataset, image, b.path AS path, b.class_name AS name,
            a.path AS path_after, a.class_name AS name_after,
            count(b.path) OVER (PARTITION BY dataset) AS images,
            count(a.path) OVER (PARTITION BY dataset) AS images_after
        FROM before_images AS b
        FULL JOIN after_images AS a USING (dataset, image)
    )
FROM both_runs
WHERE (path, name) IS DISTINCT FROM (path_after, name_after) AND images > 0 AND images_after > 0
ORDER BY dataset, image
LIMIT 1
"""
# Which images a cell is right about, a bit for each. Untouched images are the same under every seed.
DECIDED = """
SELECT
    dataset, model, perturbation, variant, round(level::DOUBLE, 6) AS level, clean,
    if(clean, 0, seed) AS seed,
    count(*) AS images,
    avg((rank = 0)::INT) AS top1,
    bitstring_agg(image::INT, 0, getvariable('last_image')) FILTER (rank = 0)::BLOB AS hits
FROM predictions
JOIN asked USING (dataset, model, perturbation, variant, level, seed)
GROUP BY ALL
"""
# What each unit does to the difference of two ratios, to the first order (the delta method); of means, that
# is the paired difference. Values that differ by the rounding of float32 count as the same.
MEASURED = """
WITH
    pairs AS (
        SELECT b.*, a.part AS part_after, a.whole AS whole_after
        FROM before_units AS b
        JOIN after_units AS a USING (measure, dataset, model, variant, level, unit)
    ),
    numbers AS (
        SELECT
            measure, dataset, model, variant, level,
            sum(part) / nullif(sum(whole), 0) AS before,
            sum(part_after) / nullif(sum(whole_after), 0) AS after,
            avg(whole) AS mean,
            avg(whole_after) AS mean_after
        FROM pairs
        GROUP BY ALL
    )
SELECT
    measure, dataset, model, variant, level, before, after,
    count(*) AS units,
    count(*) FILTER (abs(part_after - part) > 1e-5 OR whole_after <> whole) AS changed_units,
    stddev_samp((part_after - after * whole_after) / mean_after - (part - before * whole) / mean)
        / sqrt(count(*)) AS error
FROM pairs
JOIN numbers USING (measure, dataset, model, variant, level)
WHERE before IS NOT NULL AND after IS NOT NULL
GROUP BY ALL
ORDER BY ALL
"""
MEASURED_ALONE = """
WITH
    numbers AS (
        SELECT
            measure, dataset, model, variant, level,
            sum(part) FILTER (run = 'before') / nullif(sum(whole) FILTER (run = 'before'), 0) AS before,
            sum(part) FILTER (run = 'after') / nullif(sum(whole) FILTER (run = 'after'), 0) AS after
        FROM (SELECT 'before' AS run, * FROM before_units UNION ALL SELECT 'after', * FROM after_units)
        GROUP BY ALL
    )
FROM numbers
WHERE (before IS NULL) <> (after IS NULL)
ORDER BY ALL
"""


def compare(before, after, units, threads, memory_mb):
    """All numbers of two runs, those of both and those of one alone: a table of COMPARED.

    before, after: paths of warehouses. units: SQL of what is compared beside the accuracy of cells (measure,
    dataset, model, variant, level, unit, part, whole). Raises ValueError if the runs have no dataset or no
    number in common, or if a dataset of the same name has other images.
    """
    runs = {"before": before, "after": after}
    with TemporaryDirectory() as folder, duckdb.connect() as db:
        limits = f"SET threads = {threads}; SET memory_limit = '{int(memory_mb * 0.8)}MB'; "
        limits += f"SET temp_directory = '{folder}'"
        db.execute(limits)
        for name, sql in (("datasets", DATASETS), ("images", IMAGES), ("units", units)):
            for run, path in runs.items():
                file = f"{folder}/{run}_{name}.parquet"
                with warehouse.reading(path) as opened:
                    opened.execute(limits)
                    opened.sql(sql).write_parquet(file)
                db.read_parquet(file).create_view(f"{run}_{name}")
            if name == "images":  # it is known by now, and the rest takes longer
                check_images(db)
        rows = [*accuracies(*(decided(path, limits) for path in runs.values())), *measured(db)]
    if not any(row.get("units") for row in rows):
        raise ValueError(
            "the runs have no number in common: compare runs of the same models and perturbations"
        )
    differing = [row for row in rows if row.get("changed_units")]
    adjusted = stats.false_discovery_control([row["p"] for row in differing]) if differing else []
    for row, p in zip(differing, adjusted, strict=True):
        row |= {"p_adjusted": p, "moved": bool(p <= FALSE_SHARE)}
    return pa.Table.from_pylist(rows, COMPARED)


def check_images(db):
    """Raise ValueError if two runs have no dataset in common, or one of the same name with other images."""
    datasets = [
        {name for (name,) in db.sql(f"FROM {run}_datasets").fetchall()} for run in ("before", "after")
    ]
    if not set.intersection(*datasets):
        before, after = (", ".join(sorted(names)) for names in datasets)
        raise ValueError(f"the runs have no dataset in common: before has {before}, after has {after}")
    for dataset, image, path, name, path_after, name_after, images, images_after in db.sql(
        OTHER_IMAGES
    ).fetchall():
        first = f"{path} ({name})" if path else "missing"
        other = f"{path_after} ({name_after})" if path_after else "missing"
        raise ValueError(
            f"{dataset} has other images in the two runs, {images:,} before and {images_after:,} after, and "
            f"cannot be compared: the first that differs, number {image}, is {first} before and {other} after"
        )


def decided(path, limits):
    """What each cell of a run is right about.

    Gives {(dataset, model, perturbation, variant, level, clean): {seed: (top-1, images, hits)}}; hits are
    uint8, a bit for each image.
    """
    with warehouse.reading(path) as db:
        db.execute(limits)
        db.execute("SET VARIABLE last_image = (SELECT coalesce(max(image)::INT, 0) FROM images)")
        [(last,)] = db.execute("SELECT getvariable('last_image')").fetchall()
        rows = db.sql(DECIDED).to_arrow_table().to_pylist()
    cells = defaultdict(dict)
    for row in rows:
        # The first byte is filled up from the left; where nothing is right there is none.
        bits = np.unpackbits(np.frombuffer(row["hits"] or bytes(last // 8 + 1), np.uint8))[-last - 1 :]
        hits = np.packbits(bits[: row["images"]])
        cells[tuple(row[name] for name in (*CELL, "clean"))][row["seed"]] = row["top1"], row["images"], hits
    return cells


def accuracies(before, after):
    """A row for the top-1 of each cell of two runs, of untouched images once for each model and dataset.

    before, after: as `decided` gives them. Compared are the seeds of both, which draw the same numbers.
    """
    seen = set()
    for cell in sorted(
        before.keys() | after.keys(), key=lambda cell: (cell not in before or cell not in after, cell)
    ):
        *shown, clean = cell
        if clean:
            shown[2:] = UNTOUCHED, "", None
            if tuple(shown) in seen:
                continue
            seen.add(tuple(shown))
        row = {"measure": "top-1", **dict(zip(CELL, shown, strict=True))}
        runs = before.get(cell, {}), after.get(cell, {})
        seeds = sorted(runs[0].keys() & runs[1].keys())
        if seeds:
            counts = [sum(unpacked(*run[seed][1:]) for seed in seeds) for run in runs]
            yield row | {"seeds": len(seeds)} | difference(*counts, len(seeds))
        else:
            means = (np.mean([top1 for top1, *_ in run.values()]) if run else None for run in runs)
            yield row | dict(zip(("before", "after"), means, strict=True))


def unpacked(images, hits):
    """1 for each image that is hit, int [images]."""
    return np.unpackbits(hits, count=images).astype(int)


def difference(before, after, seeds):
    """Two shares of right decisions compared: the columns of COMPARED from units on.

    before, after: under how many of the seeds each image is decided rightly, int [images]. The interval is
    that of the mart `differences` (Bonett and Price 2012).
    """
    change, images = after - before, len(before)
    shares = change / seeds
    centre = shares.sum() / (images + 2)
    margin = NORMAL_95 * np.sqrt((((shares**2).sum() + 2) / (images + 2) - centre**2) / (images + 2))
    return {
        "units": images,
        "changed_units": np.count_nonzero(change),
        "before": before.mean() / seeds,
        "after": after.mean() / seeds,
        "difference": shares.mean(),
        "low": max(-1, centre - margin),
        "high": min(1, centre + margin),
        "p": p_of_signs(change),
        "p_adjusted": 1,
        "moved": False,
    }


def p_of_signs(change):
    """How often a sum of whole numbers, int [N], is as far from 0 if each might as well have the other sign.

    Exact; of -1, 0 and 1 it is McNemar's exact test. The Fourier transform of the distribution of a sum is
    the product of those of its parts, each a cosine.
    """
    counts, far = np.bincount(np.abs(change)), abs(int(change.sum()))
    sizes = np.arange(len(counts))
    reach = int(counts @ sizes)
    if far == 0:
        return 1.0
    length = fft.next_fast_len(2 * reach + 1, real=True)
    angles = 2 * np.pi * np.arange(length // 2 + 1) / length
    transform = np.prod([np.cos(size * angles) ** counts[size] for size in sizes[1:]], axis=0)
    chances = fft.irfft(transform, length)
    return float(np.clip(2 * chances[far : reach + 1].sum(), SMALLEST_P, 1))


def measured(db):
    """A row for each number of a measure. db: has the views before_units and after_units."""
    for row in db.sql(MEASURED).to_arrow_table().to_pylist():
        error, moved_by = row.pop("error"), row["after"] - row["before"]
        told = {"low": None, "high": None, "p": 1, "p_adjusted": 1, "moved": False}
        if error is not None:  # a single unit has no spread
            told |= {"low": moved_by - NORMAL_95 * error, "high": moved_by + NORMAL_95 * error}
        if error and row["changed_units"]:
            told["p"] = max(SMALLEST_P, 2 * stats.norm.sf(abs(moved_by) / error))
        yield named(row) | {"difference": moved_by} | told
    for row in db.sql(MEASURED_ALONE).to_arrow_table().to_pylist():
        yield named(row)


def named(row):
    """A row of a measure with null for a level that it does not have."""
    return row | {"level": None if np.isnan(row["level"]) else row["level"]}
