"""What a network is trained for: labels, or labels and a teacher. The tasks are timm's."""

from timm.data import Mixup
from timm.data.random_erasing import RandomErasing
from timm.task import ClassificationTask, TokenDistillationTask

DISTILLATION = {"kind": "hard", "alpha": 0.5, "temperature": 1.0}  # DeiT's


def task(net, recipe, name, teacher=None):
    """The task of a run: task(images, labels) -> {"loss": float tensor, "output": logits}.

    net: a timm network. recipe: of the run. teacher: models.Model whose decisions the distillation token of
    `net` learns, while its class token learns the labels; images that are mixed or erased are so for both.
    Raises ValueError naming the run if its network has no such token.
    """
    soft = bool(recipe.get("mixup"))  # mixed labels are smoothed where they are mixed
    criterion = {"soft_targets": soft, "smoothing": 0 if soft else recipe.get("label_smoothing", 0)}
    if teacher is None:
        return ClassificationTask(net, criterion_kwargs=criterion, verbose=False)
    if not hasattr(net, "set_distilled_training"):
        raise ValueError(
            f"run {name} has a teacher, but {type(net).__name__} has no distillation token to be taught: "
            "choose a distilled architecture, such as deit_tiny_distilled_patch16_224"
        )
    distillation = DISTILLATION | recipe.get("distillation", {})
    # timm hands a teacher images with its own statistics; a Model takes pixels as they are.
    teacher.pretrained_cfg = {"mean": (0, 0, 0), "std": (1, 1, 1)}
    return TokenDistillationTask(
        net,
        teacher,
        criterion_kwargs=criterion,
        distill_type=distillation["kind"],
        distill_loss_weight=distillation["alpha"],
        task_loss_weight=1 - distillation["alpha"],
        temperature=distillation["temperature"],
        device=next(net.parameters()).device,
        verbose=False,
    )


class Disturbance:
    """What happens to a batch as a whole, on its device: random erasing, mixup and cutmix."""

    def __init__(self, recipe, classes, device):
        erasing, mixup = recipe.get("random_erasing"), recipe.get("mixup")
        self.erase = RandomErasing(**erasing, device=device) if erasing else None
        smoothing = recipe.get("label_smoothing", 0)
        self.mix = Mixup(**mixup, label_smoothing=smoothing, num_classes=classes) if mixup else None

    def __call__(self, images, labels):
        if self.erase:
            images = self.erase(images)
        return self.mix(images, labels) if self.mix else (images, labels)
