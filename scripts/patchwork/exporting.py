"""What is left of a training for others: weights, what they are, and how it went."""

import json

import pyarrow as pa
import pyarrow.parquet as pq

from patchwork import files, metrics, models


def export(checkpoint, facts, weights_path, facts_path, metrics_path):
    """Write the weights of a checkpoint (.safetensors), its facts (.json) and its metrics (.parquet).

    checkpoint: as of training.Training. facts: what the config says of the run. The weights are their moving
    average where there is one, and those of the teacher after self-distillation.
    """
    rows = checkpoint["metrics"]
    with files.whole(weights_path) as path:
        state = (checkpoint["ema"] or checkpoint["task"])["weights"]
        models.save(path, state, classes=checkpoint["classes"] or [])
    with files.whole(metrics_path) as path:
        pq.write_table(pa.Table.from_pylist(rows, metrics.EPOCHS), path, compression="zstd")
    last = {
        key: rows[-1][key] for key in ("epoch", "held_out_top1", "held_out_shape_top1", "held_out_images")
    }
    trained = {
        "classes": checkpoint["classes"],
        "seconds": sum(row["seconds"] for row in rows),
        **last,
        **checkpoint["statistics"],
    }
    with files.whole(facts_path) as path:
        path.write_text(json.dumps(facts | trained, indent=1) + "\n")
