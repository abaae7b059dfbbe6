"""Self-distillation without labels, after which the class token of a vision transformer attends to objects.

Source: Caron et al., "Emerging properties in self-supervised vision transformers" (ICCV 2021), with the
arguments of their main_dino.py. Projection head, loss, views and schedule are lightly's.
"""

import copy

import torch
from lightly.loss import DINOLoss
from lightly.models.modules import DINOProjectionHead
from lightly.models.utils import deactivate_requires_grad, update_momentum
from lightly.transforms.dino_transform import DINOTransform
from lightly.utils.scheduler import cosine_schedule
from timm.task import TrainingTask
from timm.utils import unwrap_model
from torch import nn

from patchwork import models
from patchwork.catalogue import suggest

# The defaults of main_dino.py, which train a ViT-S/16; sizes of its images are 224 and 96 pixels.
DEFAULTS = {
    "out_dim": 65536,  # outputs of the projection heads
    "hidden_dim": 2048,  # width of the projection heads
    "bottleneck_dim": 256,  # width before their last layer
    "local_crops": 8,
    "global_scale": [0.4, 1.0],  # share of the image's area in a crop
    "local_scale": [0.05, 0.4],
    "local_size": 96,  # pixels along a side; a multiple of the patches'
    "jitter": [0.4, 0.4, 0.2, 0.1],  # of brightness, contrast, saturation and hue (torchvision's ColorJitter)
    "jittered": 0.8,  # share of the crops
    "grey": 0.2,  # share of the crops
    "blur_pixels": [0.1, 2.0],  # standard deviation of the Gaussian blur
    "momentum": 0.996,  # of the teacher at first; rises to 1 along half a cosine
    "student_temperature": 0.1,
    "teacher_temperature": 0.04,
    "first_teacher_temperature": 0.04,  # from which it goes to teacher_temperature in a straight line
    "warmup_epochs": 0,  # ... within these epochs
    "frozen_epochs": 1,  # in which the last layer of the student's head does not learn
    "center_momentum": 0.9,
}

AUTHORS_INPUTS = 384, 2048, 2048  # of the layers of a projection head on a ViT-S

# lightly multiplies these by its cj_strength of 0.5, and by another one not in all views.
JITTERS = "cj_bright", "cj_contrast", "cj_sat", "cj_hue"


def backbone(entry):
    """The network of a config entry {timm, options} without a classifier, that takes crops of any size.

    Positional embeddings are interpolated (bicubic, anti-aliased) to the grid of a crop; the weights fit the
    network that `models.create(entry, 0)` makes, too.
    Raises ValueError if it is no vision transformer.
    """
    options = entry.get("options", {}) | {"dynamic_img_size": True}
    return models.create(entry | {"options": options}, 0)


class Branch(nn.Module):
    """A backbone and a projection head: a list of V views, float [N, 3, H, W] -> float [V, N, out_dim]."""

    def __init__(self, net, settings):
        super().__init__()
        self.backbone = net
        sizes = [settings[name] for name in ("hidden_dim", "bottleneck_dim", "out_dim")]
        self.head = DINOProjectionHead(net.num_features, *sizes)
        # Drawn with the same deviation whatever its width, a narrow head shrinks its features until its
        # biases drown them. Here they are as large as in the head of the authors' ViT-S.
        layers = [layer for layer in self.head.layers if isinstance(layer, nn.Linear)]
        for layer, inputs in zip(layers, AUTHORS_INPUTS, strict=True):
            layer.weight.data.mul_((inputs / layer.in_features) ** 0.5)

    def forward(self, views):
        runs = []  # views of one size are one batch
        for view in views:
            if runs and runs[-1][0].shape == view.shape:
                runs[-1].append(view)
            else:
                runs.append([view])
        features = torch.cat([self.backbone(torch.cat(run)) for run in runs])
        return self.head(features).unflatten(0, (len(views), -1))


class DinoTask(TrainingTask):
    """Trains a network to tell of a small crop what its own moving average tells of a large one.

    net: of `backbone`. settings: those of DEFAULTS that differ. size: (height, width) of global crops in
    pixels, the network's own. epochs, epoch_steps: how long training takes.
    `views` turns a picture (PIL, RGB) into a list of normalised tensors: two global crops, float32
    [3, *size], and local_crops smaller ones; its random numbers are those of torch and numpy.
    Call before_step once gradients are there, and update_ema once the optimizer has used them.
    The state dict is all that training goes on from but the optimizer.
    Raises ValueError for a setting that there is not, and a local_size that patches do not divide.
    """

    done: torch.Tensor

    def __init__(self, net, settings, size, epochs, epoch_steps, device=None, verbose=False):
        super().__init__(device=device, verbose=verbose)
        for name in settings.keys() - DEFAULTS:
            known = ", ".join(DEFAULTS)
            raise ValueError(f"{name} is no setting of DINO{suggest(name, DEFAULTS)}; there are {known}")
        settings = DEFAULTS | settings
        patch = net.patch_embed.patch_size
        if any(settings["local_size"] % side for side in patch):
            raise ValueError(f"local_size must be a multiple of the patches' {patch[0]}x{patch[1]} pixels")
        self.settings, self.epoch_steps, self.steps = settings, epoch_steps, epochs * epoch_steps
        self.student = Branch(net, settings)
        self.teacher = Branch(copy.deepcopy(net), settings)
        self.teacher.load_state_dict(self.student.state_dict())
        deactivate_requires_grad(self.teacher)
        self.criterion = DINOLoss(
            settings["out_dim"],
            student_temp=settings["student_temperature"],
            center_momentum=settings["center_momentum"],
        )
        self.register_buffer("done", torch.zeros((), dtype=torch.int64))  # steps
        self.parallel = ()  # the student wrapped in DDP; in a tuple, so that no state dict has its prefix
        facts = net.pretrained_cfg
        self.views = DINOTransform(
            global_crop_size=size,
            global_crop_scale=tuple(settings["global_scale"]),
            local_crop_size=settings["local_size"],
            local_crop_scale=tuple(settings["local_scale"]),
            n_local_views=settings["local_crops"],
            cj_prob=settings["jittered"],
            **{name: 2 * value for name, value in zip(JITTERS, settings["jitter"], strict=True)},
            random_gray_scale=settings["grey"],
            sigmas=tuple(settings["blur_pixels"]),
            normalize={"mean": facts["mean"], "std": facts["std"]},
        )
        self.to(self.device)
        self.train()

    def train(self, mode=True):
        """The teacher drops no paths."""
        super().train(mode)
        self.teacher.eval()
        return self

    def prepare_distributed(self, device_ids=None, **ddp_kwargs):
        wrap = nn.parallel.DistributedDataParallel
        self.parallel = (wrap(self.student, device_ids=device_ids, **ddp_kwargs),)
        return self

    def get_trainable_module(self, ema=False):
        """The student; its average is the teacher, so there is no other."""
        return None if ema else [self.student, *self.parallel][-1]

    def teacher_temperature(self, step):
        """The temperature of the teacher's outputs in a step, counted from 0."""
        first, last = (self.settings[f"{name}teacher_temperature"] for name in ("first_", ""))
        warmup_steps = self.settings["warmup_epochs"] * self.epoch_steps
        return first + (last - first) * min(1, step / warmup_steps) if warmup_steps else last

    def forward(self, input, target=None):
        """{"loss"} of a batch of views, as `views` gives them; labels are not looked at."""
        with torch.no_grad():
            taught = self.teacher(input[:2])
        learnt = self.get_trainable_module()(input)
        # Not by autocast: the softmax of the teacher is sharp, and the loss a small difference.
        with torch.autocast(taught.device.type, enabled=False):
            temperature = self.teacher_temperature(int(self.done))
            loss = self.criterion([*taught.float()], [*learnt.float()], teacher_temp=temperature)
        return {"loss": loss}

    def before_step(self):
        """Leave the last layer of the head as it is in the first epochs."""
        if self.done < self.settings["frozen_epochs"] * self.epoch_steps:
            for parameter in self.student.head.last_layer.parameters():
                parameter.grad = None

    def update_ema(self, step=None):
        """Move the teacher, which is the student's moving average, towards it."""
        momentum = cosine_schedule(int(self.done), self.steps, self.settings["momentum"], 1)
        update_momentum(self.student, self.teacher, momentum)
        self.done += 1

    def get_checkpoint_state(self, ema=False, unwrap_fn=unwrap_model):
        """The weights to evaluate, those of the teacher's backbone, and all that training goes on from."""
        weights = self.teacher.backbone.state_dict()
        return {} if ema else {"state_dict": weights, "task_state": self.state_dict()}

    def load_checkpoint_state(self, state_dict, task_state=None, ema=False, strict=True):
        self.load_state_dict(task_state or {}, strict=strict)
