"""Two runs compared: what moved, what did not, and which runs are refused."""

import re
import runpy
import shutil
from functools import reduce

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import vl_convert
from pyarrow import csv
from scipy.stats import binomtest, norm, ttest_rel

from conftest import ROOT, opened
from patchwork import comparing, tables, warehouse
from patchwork.report import comparison
from test_warehouse import CLASSES, IMAGES, SEEDS, Study, bonett_price, hits

UNITS = (ROOT / "reports/runs_compared.sql").read_text()
DROP = "vit/random_drop/4x4"  # the strip that tests change
HOSTILE = "<b>&"


def change(study, strip, cell, wrong=0, right=0):
    """Let a cell decide so many images wrongly that it decided rightly, and the other way round."""
    rows = study.strips[strip][cell]
    columns = {name: rows[name].to_numpy().copy() for name in rows.column_names}
    was_right = columns["rank"] == 0
    for images, is_right in (
        (np.flatnonzero(was_right)[:wrong], False),
        (np.flatnonzero(~was_right)[:right], True),
    ):
        labels = study.labels[images]
        columns["pred"][images] = labels if is_right else (labels + 1) % CLASSES
        columns["rank"][images] = 0 if is_right else 2
        columns["prob"][images] = 0.7 if is_right else 0.1
    assert min(was_right.sum() - wrong, (~was_right).sum() - right) >= 0
    level, seed = columns.pop("level")[0], columns.pop("seed")[0]
    study.strips[strip][cell] = tables.predictions(level, seed, columns)


def compare(before, after):
    return comparing.compare(before, after, UNITS, threads=1, memory_mb=500)


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """Two runs: vit is worse under one level of random_drop and better under another in the second."""
    before, after = (Study(tmp_path_factory.mktemp(name)) for name in ("before", "after"))
    for cell in (1, 2, 3):
        change(after, DROP, cell, wrong=12)
    change(after, DROP, 4, right=16, wrong=2)
    change(after, "vit/shuffle_grid/plain", 1, wrong=1)
    return before, after


@pytest.fixture(scope="module")
def paths(studies):
    return [study.build() for study in studies]


@pytest.fixture(scope="module")
def rows(paths):
    return compare(*paths).to_pylist()


def row_of(rows, model, perturbation, level):
    [row] = [
        row
        for row in rows
        if (row["model"], row["perturbation"], row["level"]) == (model, perturbation, level)
    ]
    return row


@pytest.mark.parametrize(
    ("first", "second"), [(0, 0), (1, 0), (0, 6), (3, 10), (40, 12), (700, 600), (0, 60)]
)
def test_the_p_of_one_seed_is_that_of_mcnemars_exact_test(first, second):
    change = np.repeat([1, -1, 0], [first, second, 25])
    expected = binomtest(first, first + second).pvalue if first + second else 1
    assert comparing.p_of_signs(change) == pytest.approx(max(expected, comparing.SMALLEST_P), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_the_p_of_several_seeds_is_that_of_all_signs(seed):
    change = np.random.default_rng(seed).integers(-3, 5, 60)
    chances = reduce(np.convolve, [[0.5, *[0] * (2 * size - 1), 0.5] for size in abs(change) if size], [1.0])
    sums = np.arange(len(chances)) - abs(change).sum()
    expected = chances[abs(sums) >= abs(change.sum())].sum()
    assert comparing.p_of_signs(change) == pytest.approx(expected, abs=1e-12)


def test_differences_are_those_of_the_images(studies, paths, rows):
    for perturbation, level in [("random_drop", 0.1), ("random_drop", 0.5), ("shuffle_grid", 16)]:
        strip = f"vit/{perturbation}/{'4x4' if perturbation == 'random_drop' else 'plain'}"
        before, after = (hits(study, strip, level) for study in studies)
        row = row_of(rows, "vit", perturbation, level)
        assert (row["before"], row["after"]) == pytest.approx((before.mean(), after.mean()))
        assert row["difference"] == pytest.approx(after.mean() - before.mean())
        assert (row["units"], row["seeds"]) == (IMAGES, len(SEEDS))
        assert row["changed_units"] == (before.sum(0) != after.sum(0)).sum()
        shares = after.mean(0) - before.mean(0)
        ends = [f"paired({shares.sum()}, {(shares**2).sum()}, {IMAGES}, {side})" for side in (-1, 1)]
        [mart] = warehouse.query(paths[0], f"SELECT {ends[0]} AS low, {ends[1]} AS high").to_pylist()
        assert (row["low"], row["high"]) == pytest.approx((mart["low"], mart["high"]))


def test_what_moved_is_told_with_its_sign_and_what_did_not_is_not(rows):
    moved = [row for row in rows if row["moved"]]
    assert {(row["model"], row["level"], row["difference"] < 0) for row in moved} == {
        ("vit", 0.1, True),
        ("vit", 0.5, False),
    }
    assert row_of(rows, "vit", "shuffle_grid", 16)["changed_units"] == 1
    better = row_of(rows, "vit", "random_drop", 0.5)
    assert better["difference"] == pytest.approx(14 / IMAGES / len(SEEDS))
    same = [row for row in rows if not row["changed_units"]]
    assert len(same) == len(rows) - 3
    assert all(
        (row["difference"], row["p"], row["p_adjusted"], row["moved"]) == (0, 1, 1, False) for row in same
    )


def test_p_is_adjusted_for_the_numbers_that_differ(rows):
    differing = sorted((row for row in rows if row["changed_units"]), key=lambda row: -row["p"])
    smallest = 1.0
    for rank, row in zip(range(len(differing), 0, -1), differing, strict=True):
        smallest = min(smallest, row["p"] * len(differing) / rank)
        assert row["p_adjusted"] == pytest.approx(smallest)
        assert row["moved"] == (smallest <= 0.05)


@pytest.mark.parametrize(("wrong", "right"), [(12, 0), (0, 6), (9, 4)])
def test_untouched_images_are_compared_once_by_mcnemar_and_bonett_and_price(
    studies, paths, tmp_path, wrong, right
):
    after = Study(tmp_path)
    change(after, DROP, 0, wrong, right)
    change(after, "vit/shuffle_grid/plain", 0, wrong, right)
    rows = compare(paths[0], after.build()).to_pylist()
    row = row_of(rows, "vit", comparing.UNTOUCHED, None)
    first, second = (hits(study, DROP, 0)[0] for study in (after, studies[0]))
    assert (row["low"], row["high"]) == pytest.approx(bonett_price(first, second))
    assert row["p"] == pytest.approx(binomtest(right, wrong + right).pvalue)
    assert row["moved"] == (row["p"] <= 0.05) and row["difference"] == pytest.approx((right - wrong) / IMAGES)
    assert sum(row["changed_units"] for row in rows) == wrong + right


def test_nothing_moves_between_equal_runs(paths, tmp_path):
    rows = compare(paths[0], Study(tmp_path).build())
    assert set(rows["difference"].to_pylist()) == {0} and not any(rows["moved"].to_pylist())
    assert comparison.told(rows) == "0 of 8 cells moved: they are the same, image by image."


def test_what_is_in_one_run_alone_is_told_and_seeds_are_compared_that_both_have(studies, paths, tmp_path):
    other = Study(tmp_path)
    del other.strips["cnn/shuffle_grid/plain"]
    other.asked = [s for s in other.asked if (s["model"], s["perturbation"]) != ("cnn", "shuffle_grid")]
    other.strips[DROP] = other.strips[DROP][:3]  # level 0.1 under seeds 0 and 1, 0.5 under none
    [asked] = [s for s in other.asked if (s["model"], s["perturbation"]) == ("vit", "random_drop")]
    asked["cells"] = asked["cells"][:3]
    rows = compare(paths[1], other.build()).to_pylist()
    alone = {(row["model"], row["level"]): row for row in rows if row["units"] is None}
    assert set(alone) == {("cnn", 16), ("vit", 0.5)}
    assert all(row["after"] is None and row["moved"] is None for row in alone.values())
    assert alone["vit", 0.5]["before"] == pytest.approx(hits(studies[1], DROP, 0.5).mean())
    row = row_of(rows, "vit", "random_drop", 0.1)
    assert row["seeds"] == 2 and row["before"] == pytest.approx(hits(studies[1], DROP, 0.1)[:2].mean())


# ---- measures ----


def measured(before, after):
    """The row of one number whose units are lists of (part, whole)."""
    with duckdb.connect() as db:
        for name, units in (("before_units", before), ("after_units", after)):
            columns = {"measure": "m", "dataset": "d", "model": "a", "variant": "", "level": np.nan}
            told = [columns | {"unit": n, "part": p, "whole": w} for n, (p, w) in enumerate(units)]
            db.register(name, pa.Table.from_pylist(told))
        [row] = comparing.measured(db)
    return row


def test_the_mean_of_a_measure_is_compared_by_paired_differences():
    random = np.random.default_rng(0)
    before = random.random(300)
    after = before + random.normal(0.02, 0.1, 300)
    row = measured(*([(value, 1.0) for value in run] for run in (before, after)))
    error = (after - before).std(ddof=1) / np.sqrt(300)
    assert row["difference"] == pytest.approx((after - before).mean())
    assert (row["low"], row["high"]) == pytest.approx(norm.interval(0.95, row["difference"], error))
    assert row["p"] == pytest.approx(ttest_rel(after, before).pvalue, rel=0.2)
    assert row["level"] is None and row["units"] == row["changed_units"] == 300


def test_the_interval_of_a_ratio_is_that_of_leaving_one_unit_out():
    random = np.random.default_rng(1)
    runs = [np.stack([random.random(400) < share, random.random(400) < 0.8], 1) for share in (0.3, 0.6)]
    runs = [np.stack([part & whole, whole], 1).astype(float) for part, whole in (run.T for run in runs)]
    row = measured(*(run.tolist() for run in runs))

    def differ(kept):
        before, after = (run[kept].sum(0) for run in runs)
        return after[0] / after[1] - before[0] / before[1]

    left_out = np.array([differ(np.arange(400) != unit) for unit in range(400)])
    error = np.sqrt(399 / 400 * ((left_out - left_out.mean()) ** 2).sum())
    assert row["difference"] == pytest.approx(differ(np.arange(400)))
    assert (row["low"], row["high"]) == pytest.approx(norm.interval(0.95, row["difference"], error), abs=1e-3)


def test_rounding_is_no_change_and_one_unit_tells_nothing():
    row = measured([(0.5, 1.0)] * 9, [(0.5 + 1e-7, 1.0)] * 9)
    assert (row["changed_units"], row["p"], row["moved"]) == (0, 1, False)
    row = measured([(0.5, 1.0)], [(0.9, 1.0)])
    assert (row["low"], row["high"], row["p"], row["changed_units"]) == (None, None, 1, 1)


# ---- refusals ----


def refused(before, after):
    with pytest.raises(ValueError) as error:
        compare(before, after)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_other_labels_are_refused(paths, tmp_path):
    other = Study(tmp_path)
    names = other.index["class_name"].to_pylist()
    names[7] = "another"
    other.index = other.index.set_column(2, "class_name", [names])
    assert refused(paths[0], other.build()) == (
        "shapes has other images in the two runs, 40 before and 40 after, and cannot be compared: the first "
        "that differs, number 7, is class2/7.png (class2) before and class2/7.png (another) after"
    )


def test_fewer_images_are_refused(paths, tmp_path):
    other = Study(tmp_path)
    other.index = pa.concat_tables([other.index.slice(0, 38), other.index.slice(IMAGES)])
    other.strips = {name: [cell.slice(0, 38) for cell in cells] for name, cells in other.strips.items()}
    told = refused(other.build(), paths[0])
    assert "38 before and 40 after" in told
    assert told.endswith("number 38, is missing before and class3/38.png (class3) after")


def test_runs_with_nothing_in_common_are_refused(paths, tmp_path):
    told = refused(paths[0], Study(tmp_path / "a", dataset="sin").build())
    assert told == "the runs have no dataset in common: before has shapes, after has sin"
    told = refused(paths[0], Study(tmp_path / "b", {"resnet": "cnn"}).build())
    assert told.startswith("the runs have no number in common")


def test_a_damaged_warehouse_or_strip_is_refused(paths, studies, tmp_path):
    damaged = tmp_path / "warehouse.duckdb"
    damaged.write_bytes(paths[0].read_bytes()[:-9000])
    assert refused(damaged, paths[1]) == f"{damaged} is damaged: delete it and run again"
    study = Study(tmp_path)
    path = study.build(tmp_path / "other.duckdb")
    strip = tmp_path / f"predictions/shapes/{DROP}.parquet"
    strip.write_bytes(strip.read_bytes()[:-90])
    assert refused(paths[0], path) == f"{strip} is damaged: delete it and run again"


@pytest.mark.parametrize("sql", ["DROP TABLE cue_decisions", "ALTER TABLE asked DROP clean"])
def test_a_warehouse_of_an_older_version_is_refused_and_what_it_lacks_is_named(paths, sql):
    older = paths[0].with_name("older.duckdb")
    shutil.copy2(paths[0], older)
    with duckdb.connect(older) as db:
        db.execute(sql)
    for pair in ((older, paths[1]), (paths[1], older)):
        told = refused(*pair)
        assert told.startswith(f"{older} lacks what it is asked for") and sql.split()[-1] in told
        assert told.endswith("snakemake --forcerun build_warehouse builds it again")


# ---- the page ----


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Of two runs with a hostile name, a strip of which is in one run alone."""
    before, after = (
        Study(tmp_path_factory.mktemp(name), {HOSTILE: "cnn", "vit": "vit"}) for name in ("before", "after")
    )
    for cell in (1, 2, 3):
        change(after, f"{HOSTILE}/random_drop/4x4", cell, wrong=12)
    del after.strips["vit/shuffle_grid/plain"], after.asked[-1]
    rows = compare(before.build(), after.build())
    figure = runpy.run_path(ROOT / "reports/runs_compared.py")
    template = (ROOT / "reports/page.html").read_text()
    path = tmp_path_factory.mktemp("page") / "comparison.html"
    path.write_text(
        comparison.write(template, rows, ["<one>", "this run"], figure["__doc__"], figure["chart"])
    )
    return rows, path


def table(text, caption):
    """The cells of a table of a page, row by row."""
    body = text.split(f"<caption>{caption}</caption>")[1].split("</table>")[0]
    return [re.findall(r"<td[^>]*>(.*?)</td>", line) for line in re.findall(r"<tr>(.*?)</tr>", body)[1:]]


def test_the_page_tells_what_moved_and_what_is_in_one_run_alone(page):
    rows, path = page
    text = path.read_text().replace(vl_convert.javascript_bundle(), "")
    row = row_of(rows.to_pylist(), HOSTILE, "random_drop", 0.1)
    assert table(text, "What moved") == [
        [
            *("&lt;b&gt;&amp;", "shapes", "top-1 random drop 4x4", "0.1"),
            *(f"{row['before']:.1%}", f"{row['after']:.1%}", f"{100 * row['difference']:+.2f}"),
            *(f"{100 * row['low']:+.2f} to {100 * row['high']:+.2f}", f"{row['p_adjusted']:.2g}"),
            *(f"{row['changed_units']}", "40"),
        ]
    ]
    assert table(text, "In one run alone") == [["vit", "shapes", "top-1 shuffle grid", "before", "16"]]
    assert "1 of 7 cells moved, largest: &lt;b&gt;&amp; on shapes, top-1 random drop 4x4 0.1, " in text
    assert "1 cell in one run alone. Before: &lt;one&gt;. After: this run." in text
    assert HOSTILE not in text and "<one>" not in text
    assert "<title>Patchwork: two runs compared</title>" in text and "default-src 'none'" in text
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", text)


def test_the_page_draws_its_chart_in_a_browser(chromium, page):
    with opened(chromium, page[1]) as drawn:
        labels = drawn.locator(f"#chart-{comparison.FIGURE} [aria-label*='state: ']")
        marks = [mark.get_attribute("aria-label") for mark in labels.all()]
    assert len(marks) == 7
    [moved] = [mark for mark in marks if "state: moved" in mark]
    assert HOSTILE in moved and "images or episodes: 40" in moved and "95 % interval: " in moved


# ---- a whole run ----


def test_a_run_is_compared_with_a_copy_of_its_results(project, tmp_path):
    shutil.copytree(project.path("results"), tmp_path / "before")
    told = project.run("compare_runs", "--config", f"before={tmp_path}/before")
    assert re.search(r"^0 of \d+ cells moved: they are the same, image by image\.$", told, re.M)
    assert 'id="chart-before-after"' in project.path("results/comparison.html").read_text()
    cells = csv.read_csv(project.path("results/comparison.csv"))
    assert len(cells) > 30 and set(cells["difference"].to_pylist()) == {0}
    assert project.plan() == {}  # that two runs were compared is no setting of either
    for folder, reason in [
        ("results", "results is compared with itself: name another run"),
        (
            tmp_path,
            f"there is no warehouse.duckdb in {tmp_path} or {tmp_path}/results: name a run that is done",
        ),
    ]:
        told = project.run("--dry-run", "compare_runs", "--config", f"before={folder}", check=False)
        assert f"before: {reason}" in told
    told = project.run("--dry-run", "compare_runs", check=False)
    assert "compare_runs: name the run to compare with, --config before=FOLDER" in told
