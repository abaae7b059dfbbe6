"""What it all took: by studies, by figures, by rules, and job by job."""

from patchwork.report import markup

PER = {"study": "By study", "family": "By figures", "rule": "By rule"}


def expenses(totals, jobs):
    """Tables of hours, and of all jobs; nothing if no job is known. totals: rows of the mart `cost_totals`;
    jobs: of `costs`."""
    if not jobs:
        return ""
    [together] = [row for row in totals if row["per"] == "all"]
    lost = together["jobs"] - together["recorded"]
    told = f"{in_words(together)} for {markup.count(together['jobs'], 'job')}"
    told += f"; of {lost:,} nothing is recorded" * bool(lost)
    longest = together["dearest_seconds"]
    dearest = f"The longest took {duration(longest)}: {together['dearest']}. " if longest else ""
    return (
        f"<p><strong>{told}.</strong> {dearest}"
        "Told by Snakemake's benchmark files of the last run of each job, and by what strips have left. What "
        "several studies ask for counts at the first. Figures that show the same (occlusion, say) are told "
        "together, without the trainings that they need. What makes images and weights is shared, as is all "
        "else that no study asks for by itself. Hours are those of the jobs; CPU hours those of all of their "
        "threads; memory is that of the host. Not in it: the warehouse, figures, sheets and this page.</p>"
        + "".join(summed(title, [row for row in totals if row["per"] == per]) for per, title in PER.items())
        + f"<details><summary>Every job ({len(jobs):,})</summary>{each(jobs)}</details>"
    )


def in_words(row):
    """'1.20 hours, 0.80 of them on a GPU, 0.10 on a device that is not recorded; 3.00 CPU hours'."""
    unknown = row["unknown_hours"]
    return (
        f"{row['hours']:,.2f} hours"
        + f", {row['gpu_hours']:,.2f} of them on a GPU" * bool(row["gpu_hours"])
        + f", {unknown:,.2f} of them on a device that is not recorded" * bool(unknown)
        + (f"; {row['cpu_hours']:,.2f} CPU hours" if row["cpu_hours"] is not None else "")
    )


def summed(title, rows):
    """The table of one way of adding up."""
    titles = [title.removeprefix("By "), "#jobs", "#recorded", "#hours", "#on a GPU", "#device not recorded"]
    titles += ["#CPU hours", "#peak memory, MB", "longest"]
    cells = [
        [
            *(row["name"], f"{row['jobs']:,}", f"{row['recorded']:,}"),
            *(f"{row[name]:,.3f}" for name in ("hours", "gpu_hours", "unknown_hours")),
            *(number(row["cpu_hours"], ",.3f"), number(row["memory_mb"], ",.0f")),
            f"{row['dearest']} ({duration(row['dearest_seconds'])})" if row["recorded"] else "-",
        ]
        for row in rows
    ]
    return f"<h3>{title}</h3>" + markup.table(f"Cost {title.lower()}", titles, cells)


def each(jobs):
    """The table of all jobs."""
    titles = ["study", "rule", "of", "device", "#seconds", "#images/s", "#peak memory, MB", "note"]
    cells = [
        [
            *(job["study"] or "(shared)", job["rule"], what(job), job["device"] or "not recorded"),
            number(job["seconds"], ",.1f"),
            number(job["images_per_second"], ",.0f"),
            number(job["memory_mb"], ",.0f"),
            job["note"] or "",
        ]
        for job in jobs
    ]
    return markup.table("Every job", titles, cells)


def what(job):
    """What a job is of, in words."""
    names = ("dataset", "model", "perturbation", "variant", "measure", "part")
    return " ".join(job[name] for name in names if job[name] not in (None, "plain"))


def number(value, form):
    return "-" if value is None else format(value, form)


def duration(seconds):
    """Seconds in a unit that suits them."""
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{seconds:,.1f} s"
