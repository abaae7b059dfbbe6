"""Adversarial attacks: the change of an image, at most `bound` in each value, that misleads one model.

Pixels are in [0, 1], a bound is in their unit (8/255 or the like), and models.Model normalises inside. All
attacks are white-box and untargeted on the true labels: they climb the loss of each image by itself, so
that nothing depends on what else is in a batch. Gradients are computed in float32 whatever dtype the model
is evaluated in: float16 rounds small ones to 0, and an attack that stands still would pass for robustness.
"""

from functools import partial

import torch
from torch.nn.functional import cross_entropy

TOLERANCE = 1e-6  # above what sums of float32 in [0, 1] round


def attacked(attack, model, images, labels, level, name, **more):
    """Images under an attack whose bound is `level` / 255: float32 [N, 3, H, W] in [0, 1].

    attack: one of the functions below, called with `more` too. Level 0 returns the images themselves without
    a pass through the model. Raises RuntimeError telling `name` if the attack leaves its bound or [0, 1].
    """
    if not level:
        return images
    bound = level / 255
    found = attack(model, images, labels, bound, **more)
    excess = torch.maximum((found - images).abs() - bound, (found - 0.5).abs() - 0.5).max().item()
    if not excess <= TOLERANCE:  # nor NaN
        raise RuntimeError(f"{name} exceeds its bound of {level:g}/255, or [0, 1], by {excess * 255:g}/255")
    return found


def pgd(model, images, labels, bound, steps, step_share, noise=None):
    """Projected gradient descent (Madry et al. 2018) on the cross-entropy, in the maximum norm.

    Every one of the `steps` adds or takes `step_share` of the bound by the sign of the gradient. All are
    taken, whatever the model says meanwhile, and the last image is the result. It starts from the image, or
    from a random place within the bound if there is `noise`, uniform in [0, 1): float [N, 3 * H * W]. One
    step of the whole bound is the fast gradient sign method (Goodfellow et al. 2015).
    """
    pixels = images
    if noise is not None:
        pixels = (images + bound * (2 * noise.float() - 1).view_as(images)).clamp_(0, 1)
    for _ in range(steps):
        gradient = climb(model, pixels, partial(cross_entropy, target=labels, reduction="none"))[2]
        change = (pixels + step_share * bound * gradient.sign_()).sub_(images).clamp_(-bound, bound)
        pixels = change.add_(images).clamp_(0, 1)
    return pixels


def climb(model, pixels, loss):
    """Logits [N, classes], losses [N] and their gradient [N, 3, H, W]. loss: logits -> losses [N]."""
    with torch.enable_grad():
        pixels = pixels.detach().requires_grad_()
        logits = model(pixels)
        losses = loss(logits)
        (gradient,) = torch.autograd.grad(losses.sum(), pixels)
    return logits.detach(), losses.detach(), gradient


# ---- AutoAttack ----
# torchattacks' APGD draws its starts for a whole batch from torch's global state, so that an image's start
# would hang on its neighbours; it is what the tests compare with.


def apgd_ce(model, images, labels, bound, steps, noise):
    """Auto-PGD on the cross-entropy (Croce and Hein 2020, the first attack of AutoAttack); see `apgd`."""

    def loss(logits, clean, labels):
        return cross_entropy(logits, labels, reduction="none")

    return apgd(model, images, labels, bound, steps, noise, lambda classes: [loss])


def apgd_t(model, images, labels, bound, steps, targets, noise):
    """Targeted Auto-PGD (Croce and Hein 2020, the second attack of AutoAttack) on the targeted
    difference-of-logits-ratio loss, towards one wrong class after the other: the `targets` likeliest for the
    untouched image, or all if the model has no more. Needs four classes or more; see `apgd`.
    """

    def loss(logits, clean, labels, rank):
        target = clean.argsort(1, descending=True)[:, rank, None]
        true, wrong = logits.gather(1, labels[:, None])[:, 0], logits.gather(1, target)[:, 0]
        highest = logits.sort(1, descending=True).values
        return (wrong - true) / (highest[:, 0] - (highest[:, 2] + highest[:, 3]) / 2 + 1e-12)

    def losses(classes):
        return [partial(loss, rank=rank) for rank in range(1, min(targets, classes - 1) + 1)]

    return apgd(model, images, labels, bound, steps, noise, losses)


def apgd(model, images, labels, bound, steps, noise, losses):
    """Auto-PGD on one loss after the other, each for the images that hold so far.

    As in AutoAttack, an image that the model gets wrong anyway, or that withstands all, is returned as it is;
    of any other the last of the misclassified images that were met. losses: number of classes -> list of
    functions (logits, logits of the untouched images, labels) -> losses [N]. noise: uniform in [0, 1), float
    [N, 3 * H * W]; all losses start from the same place (AutoAttack draws one for each).
    """
    with torch.no_grad():
        clean = model(images)
    found, holds = images.clone(), clean.argmax(1) == labels
    for loss in losses(clean.shape[1]):
        (left,) = holds.nonzero(as_tuple=True)
        if not len(left):
            break
        own = partial(loss, clean=clean[left], labels=labels[left])
        pixels, fooled = run(model, images[left], labels[left], bound, steps, noise[left], own)
        found[left[fooled]] = pixels[fooled]
        holds[left[fooled]] = False
    return found


def run(model, images, labels, bound, steps, noise, loss):
    """One run of Auto-PGD: the last misclassified image met (float32 [N, 3, H, W]), and whether there was
    one (bool [N]).

    Algorithm 1 of Croce and Hein with the constants of their code: PGD with momentum, whose step starts at
    twice the bound and is halved, going back to the best place so far, for each image that has not climbed
    in three quarters of the steps since the last check or whose best has not changed.
    """
    low, high = (images - bound).clamp_(min=0), (images + bound).clamp_(max=1)
    start = (2 * noise.float() - 1).view_as(images)
    start = images + bound * start / start.abs().amax((1, 2, 3), keepdim=True)
    pixels = last = found = best = start.clamp_(0, 1)
    logits, value, gradient = climb(model, pixels, loss)
    fooled = logits.argmax(1) != labels
    best_value, best_gradient = value, gradient
    step = images.new_full((len(images), 1, 1, 1), 2 * bound)
    # Their code compares the first step's loss with 0, not with that of the start.
    values = [torch.zeros_like(value)]
    window, shortest, shorter = (max(int(share * steps), 1) for share in (0.22, 0.06, 0.03))
    checked, value_checked, halved = 0, value, torch.ones_like(fooled)
    for i in range(1, steps + 1):
        moved = (pixels + step * gradient.sign()).clamp_(low, high)
        new = 1 if i == 1 else 0.75
        moved = pixels + (moved - pixels) * new + (pixels - last) * (1 - new)
        last, pixels = pixels, moved.clamp_(low, high)
        logits, value, gradient = climb(model, pixels, loss)
        wrong, better = logits.argmax(1) != labels, value > best_value
        fooled = fooled | wrong
        found, best = chosen(wrong, pixels, found), chosen(better, pixels, best)
        best_value, best_gradient = chosen(better, value, best_value), chosen(better, gradient, best_gradient)
        values.append(value)
        if i == checked + window:
            recent = torch.stack(values[-window - 1 :])
            stuck = (recent[1:] > recent[:-1]).sum(0) <= 0.75 * window
            stuck |= ~halved & (value_checked >= best_value)
            pixels, gradient = chosen(stuck, best, pixels), chosen(stuck, best_gradient, gradient)
            step = chosen(stuck, step / 2, step)
            checked, value_checked, halved = i, best_value, stuck
            window = max(window - shorter, shortest)
    return found, fooled


def chosen(where, this, that):
    """For each image `this` where it is so, `that` elsewhere. where: bool [N]."""
    return torch.where(where.view(-1, *[1] * (this.ndim - 1)), this, that)


# ---- What a sheet shows ----

AMPLIFIED = 16


def halves(images, found):
    """What an attack changed, to look at: the left half of the attacked image, and at the right the change
    of the other half, 16-fold around grey (a change of 8/255 is as far as black or white)."""
    if found is images:
        return images
    middle = images.shape[3] // 2
    change = (0.5 + AMPLIFIED * (found - images)).clamp_(0, 1)
    return torch.cat([found[..., :middle], change[..., middle:]], 3)
