"""The speed of Patchwork beside a baseline in the same run; prints tables of docs/speed.md.

    make benchmark                                       random images
    make benchmark PATCHWORK_IMAGES=data/photographs     your own image folder

Every comparison alternates between the two sides, so that a busy machine slows both.
"""

import os

THREADS = int(os.environ.get("PATCHWORK_THREADS", os.cpu_count()))
os.environ["OMP_NUM_THREADS"] = str(THREADS)

import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import numpy as np
import timm
import torch
import yaml
from PIL import Image
from torch.nn.functional import cross_entropy
from torchvision import transforms
from torchvision.datasets import ImageFolder

from patchwork import adain, jobs, models, packed, pixels, shapes, strips, stylizing
from patchwork.perturbations import pgd, random_drop

LIGHTEST, LIGHT, HEAVY = "lcnet_050", "tf_efficientnet_lite0", "vit_small_patch16_224"
COMPUTE = {"device": "cpu", "dtype": "float32", "batch_images": 32, "channels_last": True}
VIEW = {"resize": 256, "crop": 224, "interpolation": "bilinear"}
LEVELS = [(level, 0) for level in random_drop.LEVELS]
ATTACKED_IMAGES = 16


def example_folder(folder, images, side=300):
    """An image folder of noise, one class per ten images."""
    for i in range(images):
        path = Path(folder, f"class{i // 10:03}", f"{i}.jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(i).integers(0, 256, (side // 8, side // 8, 3), np.uint8)
        Image.fromarray(noise).resize((side + 60, side)).save(path, quality=92)
    return folder


def random_model(name, folder):
    """A network that learnt nothing, as Patchwork loads one."""
    weights = Path(folder, f"{name}.safetensors")
    models.save(weights, timm.create_model(name, num_classes=1000).state_dict())
    return models.place(models.build({"timm": name}, weights, [str(i) for i in range(1000)]), COMPUTE)


def open_strip(name, folder, arrays, perturbation="random_drop", variant="14x14", needs=None):
    data = packed.Packed(*arrays)
    data.labels, data.classes = data.labels % 1000, [str(i) for i in range(1000)]
    model = random_model(name, folder)
    return strips.Strip(model, data, "benchmark", perturbation, variant, COMPUTE, needs=needs)


def clocked(function, *arguments):
    start = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - start, result


def overhead(name, folder, arrays, rounds=3):
    """Seconds of ten cells of a batch: (bare forward passes, whole strip, {part: seconds})."""
    strip, size = open_strip(name, folder, arrays), COMPUTE["batch_images"]
    images = strip.batch(0, size).images
    net, prepared = strip.model.net, strip.model.prepare(images)

    @torch.inference_mode()
    def bare():
        for _ in LEVELS:
            net(prepared)

    spent = {"read": 0.0, "perturb": 0.0, "prepare": 0.0}

    def timed(method, part):
        def wrapper(*arguments):
            seconds, result = clocked(method, *arguments)
            spent[part] += seconds
            return result

        return wrapper

    bare(), strip.decide_batch(0, size, LEVELS)
    for method, part in [("batch", "read"), ("perturb", "perturb")]:
        setattr(strip, method, timed(getattr(strip, method), part))
    strip.model.prepare = timed(strip.model.prepare, "prepare")
    sides = np.array(
        [(clocked(bare)[0], clocked(strip.decide_batch, 0, size, LEVELS)[0]) for _ in range(rounds)]
    )
    return *sides.sum(0), spent


def salient(name, folder, arrays, rounds=3):
    """Seconds of ten levels of a batch: (random PatchDrop, salient PatchDrop of the same area)."""
    ranks = Path(folder, "ranks.npy")
    np.save(ranks, np.random.default_rng(0).random((100, 14, 14), np.float32))
    needs = {"saliency": ranks}
    both = [
        open_strip(name, folder, arrays),
        open_strip(name, folder, arrays, "salient_drop", "area", needs),
    ]
    rounds = [
        [clocked(strip.decide_batch, 0, COMPUTE["batch_images"], LEVELS)[0] for strip in both]
        for _ in range(rounds + 1)
    ]
    return np.array(rounds[1:]).sum(0)


def attack(name, folder, arrays, rounds=4):
    """Seconds of PGD on a batch: (as many bare passes forward and back to the input, the attack)."""
    strip = open_strip(name, folder, arrays)
    batch, model = strip.batch(0, ATTACKED_IMAGES), strip.model
    prepared = model.prepare(batch.images).requires_grad_()

    def bare():
        for _ in range(pgd.SETTINGS["steps"]):
            loss = cross_entropy(model.net(prepared), batch.labels, reduction="sum")
            torch.autograd.grad(loss, prepared)

    def attacked():
        pgd.apply(model, batch.images, batch.labels, 8, **pgd.SETTINGS)

    bare(), attacked()
    return np.array([(clocked(bare)[0], clocked(attacked)[0]) for _ in range(rounds)]).sum(0) / rounds


def loop_per_level(net, root, mean, std):
    """The authors' way: for each level, load, decode and transform every image again, mask and decide."""
    view = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()])
    normalise = transforms.Normalize(mean, std)
    for level, _ in LEVELS:
        loader = torch.utils.data.DataLoader(ImageFolder(root, view), COMPUTE["batch_images"])
        for images, _ in loader:
            dropped = np.random.choice(196, int(level * 196), replace=False)
            tiles = (
                images.unflatten(3, (14, 16)).unflatten(2, (14, 16)).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
            )
            tiles[:, dropped] = 0
            images = tiles.unflatten(1, (14, 14)).permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
            with torch.inference_mode():
                net(normalise(images))


def whole(name, folder, root):
    """Seconds for ten levels of PatchDrop from image files: (loop per level, Patchwork)."""
    model = random_model(name, folder)
    loop, _ = clocked(
        loop_per_level, model.net, root, model.mean.flatten().tolist(), model.std.flatten().tolist()
    )

    def patchwork():
        arrays = Path(folder, "whole.npy"), Path(folder, "whole.parquet")
        pixels.pack(root, *arrays, VIEW, threads=THREADS)
        strip = open_strip(name, folder, arrays)
        strips.evaluate(
            strip, LEVELS, Path(folder, f"cells-{name}"), Path(folder, "whole-strip.parquet"), "benchmark"
        )

    return loop, clocked(patchwork)[0]


def stylizing_rates(folder, images=640, rounds=3):
    """Images/s at 64 px with the encoder of config.yaml and 20 contents for each style, as there: (encoder
    and decoder alone on a batch in memory, files to files)."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    stylizer = next(iter(config["stylizers"].values()))
    net = models.create(config["models"][stylizer["encoder"]], 10).eval().requires_grad_(False)
    encoder = adain.Encoder(models.place(models.Model(net, (64, 64)), COMPUTE), stylizer["layers"])
    decoder, folder = adain.decoder(encoder), Path(folder)
    shapes.draw(folder / "shapes", "shapes", "natural", images, 64)
    shapes.draw(folder / "paintings", "paintings", "painting", images // 20, 64)
    places, size = [folder / name / "images" for name in ("shapes", "paintings")], stylizing.BATCH_IMAGES
    rows = stylizing.rows("benchmark", *places)
    batch = torch.rand(size, 3, 64, 64)
    mean, deviation = (part.expand(size, -1, -1, -1) for part in adain.statistics(encoder(batch[:1])[-1]))

    @torch.inference_mode()
    def bare():
        for _ in range(images // size):
            decoder(adain.adapt(encoder(batch)[-1], mean, deviation))

    def files(number):
        view = {"resize": 64, "crop": 64, "interpolation": "bilinear"}
        stylizing.stylize(rows, folder / f"store{number}", encoder, decoder, *places, view, threads=THREADS)

    bare()
    seconds = [(clocked(bare)[0], clocked(files, number)[0]) for number in range(rounds)]
    return tuple(rounds * images / sum(column) for column in zip(*seconds, strict=True))


def peak_megabytes(folder, images):
    """The peak memory of a process that evaluates two cells of so many images of 64 px."""
    code = f"""
import sys; sys.path.insert(0, {str(ROOT / "scripts")!r}); sys.path.insert(0, {str(ROOT / "tests")!r})
import benchmark; benchmark.jobs.keep_memory()
from pathlib import Path
from patchwork import strips
arrays = Path({str(folder)!r}, "{images}.npy"), Path({str(folder)!r}, "{images}.parquet")
strip = benchmark.open_strip("test_vit", {str(folder)!r}, arrays)
store, path = Path({str(folder)!r}, "cells"), Path({str(folder)!r}, "strip.parquet")
strips.evaluate(strip, [(0, 0), (0.5, 0)], store, path, "{images}")
status = Path("/proc/self/status").read_text()  # getrusage would also tell of the process this one came from
print(int(status.split("VmHWM:")[1].split()[0]) // 1024)
"""
    return int(
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    )


def packed_noise(folder, images):
    """Random packed images of 64 px, without the files."""
    array = np.lib.format.open_memmap(Path(folder, f"{images}.npy"), "w+", np.uint8, (images, 3, 64, 64))
    array[:] = np.random.default_rng(0).integers(0, 256, (1, 3, 64, 64), np.uint8)
    rows = [
        {"image": i, "label": 0, "class_name": "noise", "path": f"{i}", "problem": None}
        for i in range(images)
    ]
    pixels.write_index(Path(folder, f"{images}.parquet"), rows, {"classes": ["noise"]}, f"{images}")


def planning(folder):
    """Jobs and seconds of planning a grid of the paper's size: 26 models, seven strips each."""
    example_folder(Path(folder, "data/val"), 1000, side=16)
    families = ["vit"] * 13 + ["cnn"] * 13
    config = {
        "datasets": {"imagenet": {"root": "data/val"}},
        "pixels": VIEW,
        "models": {f"model{i}": {"family": family, "timm": HEAVY} for i, family in enumerate(families)},
        "studies": {
            "grid": {
                "datasets": "imagenet",
                "models": ["vit", "cnn"],
                "perturbations": ["occlusion", "permutation"],
            }
        },
        "seeds": [0, 1, 2, 3, 4],
    }
    Path(folder, "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--dry-run"]
    seconds, done = clocked(
        lambda: subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    )
    jobs = next(line.split()[1] for line in done.stdout.splitlines() if line.startswith("total"))
    return int(jobs), seconds


def main():
    torch.set_num_threads(THREADS)
    jobs.keep_memory()  # for both sides; without it both are slower
    print(f"torch {torch.__version__}, {THREADS} threads, float32, batches of {COMPUTE['batch_images']}\n")
    with tempfile.TemporaryDirectory() as folder:
        root = os.environ.get("PATCHWORK_IMAGES") or example_folder(Path(folder, "images"), 100)
        arrays = Path(folder, "images.npy"), Path(folder, "images.parquet")
        pixels.pack(root, *arrays, VIEW, threads=THREADS, images=100)
        print(
            "| model | bare passes, images/s | a strip, images/s | share | parts of a strip |\n"
            + "|---" * 5
            + "|"
        )
        passes = 3 * len(LEVELS) * COMPUTE["batch_images"]
        for name in (LIGHTEST, LIGHT, HEAVY):
            bare, strip, spent = overhead(name, folder, arrays)
            rest = ", ".join(f"{part} {seconds / strip:.1%}" for part, seconds in spent.items())
            print(
                f"| {name} | {passes / bare:.0f} | {passes / strip:.0f} | {bare / strip:.2f} | {rest} |",
                flush=True,
            )
        random, by_attention = salient(LIGHTEST, folder, arrays)
        print(f"\nA salient strip takes {by_attention / random:.2f} of the time of a random one ({LIGHTEST})")
        steps = pgd.SETTINGS["steps"]
        print(
            f"\nPGD, {steps} steps, batches of {ATTACKED_IMAGES}\n\n"
            f"| model | {steps} bare passes forward and back, images/s | PGD, images/s | share |\n"
            + "|---" * 4
            + "|"
        )
        for name in (LIGHT, HEAVY):
            bare, whole_attack = attack(name, folder, arrays)
            rates = f"{ATTACKED_IMAGES / bare:.2f} | {ATTACKED_IMAGES / whole_attack:.2f}"
            print(f"| {name} | {rates} | {bare / whole_attack:.2f} |", flush=True)
        print("\n| model | a loader per level, s | Patchwork, s | ratio |\n|---|---|---|---|")
        for name in (LIGHTEST, LIGHT, HEAVY):
            loop, ours = whole(name, folder, root)
            print(f"| {name} | {loop:.1f} | {ours:.1f} | {loop / ours:.2f} |", flush=True)
        bare, whole_way = stylizing_rates(folder)
        print(
            f"\nStylizing at 64 px: {whole_way:.0f} images/s from files to files, {bare:.0f} by encoder and "
            f"decoder alone, {whole_way / bare:.2f} of it",
            flush=True,
        )
        sizes = [500, 20_000]
        for images in sizes:
            packed_noise(folder, images)
        memory = [peak_megabytes(folder, images) for images in sizes]
        told = ", ".join(
            f"{peak} MB for {images:,} images" for peak, images in zip(memory, sizes, strict=True)
        )
        print(f"\nPeak memory of a predict job: {told}")
    with tempfile.TemporaryDirectory() as folder:
        planned, seconds = planning(folder)
        print(f"Planning {planned} jobs: {seconds:.1f} s")


if __name__ == "__main__":
    main()
