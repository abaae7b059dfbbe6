"""What is told of a training, epoch by epoch: the columns that exporting writes and the report reads."""

import pyarrow as pa

EPOCHS = pa.schema(
    [
        ("epoch", pa.int16()),
        ("loss", pa.float32()),  # mean over the epoch's images, as they were trained on
        ("top1", pa.float32()),  # of those, augmented and mixed; null for a training without labels
        ("held_out_top1", pa.float32()),  # after the epoch, of the class token
        ("held_out_shape_top1", pa.float32()),  # of the distillation token, where there is one
        ("held_out_images", pa.int32()),
        ("learning_rate", pa.float32()),  # of the last step
        ("images_per_second", pa.float32()),
        ("memory_mb", pa.float32()),  # peak of the process so far
        ("seconds", pa.float32()),
    ]
)
