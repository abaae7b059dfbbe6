"""Untouched images: what a model makes of a dataset as it is.

For datasets that are themselves the question: images whose shape and texture disagree, stylized images, other
data than a model was trained on. A strip of it is a single level, so it is in no curve; models and their
answers are compared in the table of models and in the figures of shape and texture.
"""

FAMILY = "clean"
AXIS = "untouched"
LEVELS = [0]


def apply(images):
    """The images (float [N, 3, H, W]) themselves."""
    return images
