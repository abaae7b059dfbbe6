"""Images drawn by rule, each of an outline filled with a texture: a data set that needs no download.

Shape and texture are known for every image, and so is the true mask of the object. They agree ("natural")
or disagree ("conflict"), as in Geirhos et al., "ImageNet-trained CNNs are biased towards texture" (ICLR
2019), whose cue-conflict files are named `<shape>N-<texture>M.png` as they are here. Paintings are textures
from edge to edge, without any outline: what a stylizer takes styles from. "outlines" are ten further
outlines, which no network that has learnt from the others has seen.
"""

import csv
import hashlib
import math
import os
import threading
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import psutil
from PIL import Image, ImageDraw

from patchwork import jobs

OVERSAMPLING = 4  # outlines are filled at this multiple of the size, so that their edges are smooth
OBJECT_SIDE = 0.5, 0.85  # the longer side of the object, as a share of the image's side
PERIOD = 0.09, 0.14  # of the texture of an object, as a share of the image's side
PAINTED_PERIOD = 0.06, 0.2  # the same of a painting
GROUND = 0.05, 0.4  # every channel of the background: dark, of any hue
COLORS = [[0.35], [0.7]], [[0.65], [1.0]]  # the two colours of a texture, lowest and highest: medium, light
TURN = 0.4  # radians to either side; a full turn takes a small ViT many times the images to learn
CHUNK_IMAGES = 50


# ---- Outlines: float [points, 2], closed, about one unit around (0, 0). ----


def edges(corners):
    """A polygon with many points on each edge, so that a wobble bends its edges too."""
    corners = np.array(corners, float)
    steps = np.linspace(0, 1, 12, endpoint=False)[:, None]
    following = np.roll(corners, -1, axis=0)
    return np.concatenate([a + (b - a) * steps for a, b in zip(corners, following, strict=True)])


def arc(first, last, radius=1.0, center=0.0):
    """Points on a circle around (center, 0) from one angle to another."""
    angles = np.linspace(first, last, 72)
    return np.stack([center + radius * np.cos(angles), radius * np.sin(angles)], 1)


def star_corners():
    angles = np.arange(10) * np.pi / 5
    return np.stack([np.cos(angles), np.sin(angles)], 1) * np.where(np.arange(10) % 2, 0.45, 1)[:, None]


def cross_corners():
    arm, quarter_turn = np.array([(-0.3, -1), (0.3, -1), (0.3, -0.3)]), np.array([(0, 1), (-1, 0)])
    return np.concatenate([arm @ np.linalg.matrix_power(quarter_turn, k) for k in range(4)])


def heart_points():
    t = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([16 * np.sin(t) ** 3, -y], 1) / 17  # y points down in an image


OUTLINES = {
    "circle": arc(0, 2 * np.pi),
    "square": edges([(-1, -1), (1, -1), (1, 1), (-1, 1)]),
    "triangle": edges([(1, 0), (-0.5, 0.866), (-0.5, -0.866)]),
    "star": edges(star_corners()),
    "cross": edges(cross_corners()),
    "ring": np.concatenate([arc(0, 2 * np.pi), arc(2 * np.pi, 0, radius=0.5)]),
    "crescent": np.concatenate([arc(0.9, 2 * np.pi - 0.9), arc(-1.37, -2 * np.pi + 1.37, 0.8, 0.46)]),
    "heart": heart_points(),
    "hourglass": edges([(-0.8, -1), (0.8, -1), (0.12, 0), (0.8, 1), (-0.8, 1), (-0.12, 0)]),
    "arrow": edges([(-1, -0.25), (0.1, -0.25), (0.1, -0.75), (1, 0), (0.1, 0.75), (0.1, 0.25), (-1, 0.25)]),
}


def bolt_corners():
    return [(0.45, -1), (-0.75, 0.15), (-0.1, 0.15), (-0.45, 1), (0.75, -0.3), (0.1, -0.3)]


def drop_points():
    t = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    return np.stack([0.75 * np.sin(t) * np.sin(t / 2) ** 1.5, -np.cos(t)], 1)


def flower_points():
    t = np.linspace(0, 2 * np.pi, 144, endpoint=False)
    return np.stack([np.sin(t), -np.cos(t)], 1) * (0.65 + 0.35 * np.cos(5 * t))[:, None]


def spiral_points():
    """A band of one and a half turns that grows outwards."""
    t = np.linspace(0, 3 * np.pi, 96)
    inner, outer = (np.stack([np.cos(t), np.sin(t)], 1) * r[:, None] for r in (0.07 * t, 0.07 * t + 0.3))
    return np.concatenate([inner, outer[::-1]])


def fish_points():
    body = arc(-2.6, 2.6) * (0.75, 0.5) + (0.25, 0)
    return np.concatenate([body, edges([body[-1], (-1, 0.55), (-0.75, 0), (-1, -0.55)])[12:]])


# What `outlines` are drawn of: none looks like another, turned, stretched and wobbled as they are.
FURTHER_OUTLINES = {
    "bolt": edges(bolt_corners()),
    "drop": drop_points(),
    "ell": edges([(-0.7, -1), (-0.1, -1), (-0.1, 0.4), (0.8, 0.4), (0.8, 1), (-0.7, 1)]),
    "fish": fish_points(),
    "flower": flower_points(),
    "horseshoe": np.concatenate([arc(-0.9, np.pi + 0.9), arc(np.pi + 0.9, -0.9, radius=0.5)]),
    "house": edges([(0, -1), (1, -0.2), (0.7, -0.2), (0.7, 0.9), (-0.7, 0.9), (-0.7, -0.2), (-1, -0.2)]),
    "spiral": spiral_points(),
    "tee": edges(
        [(-1, -0.9), (1, -0.9), (1, -0.3), (0.3, -0.3), (0.3, 1), (-0.3, 1), (-0.3, -0.3), (-1, -0.3)]
    ),
    "wedge": np.concatenate([arc(0.7, 2 * np.pi - 0.7), [(0.0, 0.0)]]),
}


def outline(random, shape):
    """A shape of random size, turn, stretch, wobble and place: float [points, 2] in [0, 1] x [0, 1]."""
    stretch = random.uniform(0.8, 1.25)
    angle, wobble = random.uniform(-TURN, TURN), random.uniform(0, 2 * np.pi)
    points = (OUTLINES | FURTHER_OUTLINES)[shape] * (stretch, 1 / stretch)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    points = points @ turn
    points = points + random.uniform(0.02, 0.06) * np.sin(random.uniform(3, 6) * points[:, ::-1] + wobble)
    points -= points.min(0)
    points *= random.uniform(*OBJECT_SIDE) / points.max()
    return points + random.uniform(0.02, 0.98 - points.max(0))


# ---- Textures: (random, x, y) -> float like x in [0, 1], the share of the second of two colours. ----
# x and y are turned, shifted and scaled so that one unit is one period, about a tenth of the image.


def sharp(wave):
    """A wave around zero to two flat tones with a soft edge: a hard one would show the pixel grid."""
    return np.clip(2.5 * wave + 0.5, 0, 1)


def sine(phase):
    return np.sin(2 * np.pi * phase)


def noise(random, x, y, spacing):
    """Smooth random numbers of mean 0, one drawn per `spacing` periods and the rest interpolated."""
    period = np.hypot(x[0, 1] - x[0, 0], y[0, 1] - y[0, 0])  # one pixel, in periods
    cells = max(2, round(len(x) * period / spacing))
    drawn = Image.fromarray(random.standard_normal((cells, cells), np.float32))
    return np.asarray(drawn.resize(x.shape[::-1], Image.Resampling.BICUBIC))


def stripes(random, x, y):
    return sharp(sine(x))


def checks(random, x, y):
    return sharp(2 * sine(x / 2) * sine(y / 2))


def dots(random, x, y):
    return sharp(sine(x) + sine(y) - 0.6)


def cloud(random, x, y):
    return np.clip(0.5 + 0.45 * noise(random, x, y, 0.9), 0, 1)


def bricks(random, x, y):
    course = np.floor(y * 1.2)
    joint = np.abs((y * 1.2 - course) - 0.5) - 0.36
    return sharp(2 * np.maximum(joint, np.abs((x * 0.6 + course / 2) % 1 - 0.5) - 0.42))


def waves(random, x, y):
    return sharp(sine(x + 0.3 * sine(y / 1.6)))


def cells(random, x, y):
    lowest, highest = min(x.min(), y.min()), max(x.max(), y.max())
    seeds = np.stack(np.meshgrid(*2 * [np.arange(lowest, highest + 1.3, 1.3, dtype=np.float32)]), -1).reshape(
        -1, 2
    )
    seeds = seeds + random.uniform(-0.5, 0.5, seeds.shape).astype(np.float32)
    # the nearest seed has the largest p.s - |s|^2 / 2, which is one product of matrices
    places = np.stack([x.ravel(), y.ravel(), np.ones(x.size, np.float32)], 1)
    nearest = (places @ np.column_stack([seeds, -(seeds**2).sum(1) / 2]).T).argmax(1)
    return random.random(len(seeds), np.float32)[nearest].reshape(x.shape)


def rings(random, x, y):
    return sharp(sine(np.hypot(x, y)))


def speckle(random, x, y):
    return sharp(noise(random, x, y, 0.22) - 0.5)


def plaid(random, x, y):
    return (sharp(sine(x)) + sharp(sine(y))) / 2


TEXTURES = {
    function.__name__: function
    for function in [stripes, checks, dots, cloud, bricks, waves, cells, rings, speckle, plaid]
}


# ---- Pictures. ----


def mix(colors, share):
    """Two colours mixed: [2, 3], share of the second [H, W] -> [H, W, 3]."""
    colors = colors.astype(np.float32)
    return colors[0] + share[..., None] * (colors[1] - colors[0])


def fill(points, size):
    """The share of each pixel inside a closed outline: float32 [size, size] in [0, 1]."""
    large = Image.new("L", (size * OVERSAMPLING, size * OVERSAMPLING))
    corners = (points * size * OVERSAMPLING - 0.5).ravel().tolist()
    ImageDraw.Draw(large).polygon(corners, fill=255)
    return np.asarray(large.reduce(OVERSAMPLING), np.float32) / 255


def picture(random, shape, texture, size):
    """One image, uint8 [size, size, 3], and its true mask, bool [size, size].

    random: a numpy Generator. The texture is drawn last: with the same generator, place, outline and
    background are the same for every texture.
    """
    side = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = np.meshgrid(side, side)
    ground, colors = random.uniform(*GROUND, (2, 3)), random.uniform(*COLORS, (2, 3))
    image = mix(ground, np.clip(0.5 + 0.4 * noise(random, x, y, 1 / 4), 0, 1))
    points = outline(random, shape)
    inside = fill(points, size)

    center = (points.min(0) + points.max(0)) / 2 + random.uniform(-0.05, 0.05, 2)
    share = textured(random, texture, x, y, center, PERIOD, TURN)
    image += inside[..., None] * (mix(colors, share) - image)
    return as_bytes(image), inside >= 0.5


def textured(random, texture, x, y, center, period, turn):
    """A texture of random scale and turn around a centre, at x and y in [0, 1]: float like x in [0, 1].

    period: shortest and longest. turn: radians to either side.
    """
    x, y = ((x, y) - center.astype(np.float32)[:, None, None]) / random.uniform(*period)
    angle = random.uniform(-turn, turn)
    cosine, sinus = math.cos(angle), math.sin(angle)
    return TEXTURES[texture](random, cosine * x - sinus * y, sinus * x + cosine * y)


def painting(random, size):
    """A picture of two textures that flow into each other from edge to edge: uint8 [size, size, 3].

    Textures, colours, scales, turns and the field that mixes them are drawn from `random`, a numpy Generator.
    """
    side = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = np.meshgrid(side, side)
    layers = [
        mix(
            random.uniform(0, 1, (2, 3)),
            textured(random, str(texture), x, y, random.uniform(0, 1, 2), PAINTED_PERIOD, np.pi),
        )
        for texture in random.choice(list(TEXTURES), 2, replace=False)
    ]
    field = sharp(noise(random, x, y, 1 / 3))[..., None]
    return as_bytes(layers[0] + field * (layers[1] - layers[0]))


def as_bytes(image):
    """Float in [0, 1] to uint8."""
    return (image * 255 + 0.5).astype(np.uint8)


# ---- Data sets. ----

KINDS = {
    "natural": OUTLINES,
    "conflict": OUTLINES,
    "texture": TEXTURES,
    "painting": ["painting"],
    "outlines": FURTHER_OUTLINES,
}  # and classes


def cues(kind, index):
    """The shape, the texture, the class folder and the file name of an image.

    Shapes take turns, so every class has as many images as any other, give or take one. In "conflict" and
    "texture" the texture runs ahead of the shape by 1 to 9 in turn, so all 90 pairs take turns as well; in
    "outlines" by 0 to 9, so all 100 pairs do.
    """
    shapes, textures = list(FURTHER_OUTLINES if kind == "outlines" else OUTLINES), list(TEXTURES)
    turn, k = divmod(index, len(shapes))
    if kind == "natural":
        return shapes[k], textures[k], shapes[k], f"{index:05d}.png"
    ahead = turn if kind == "outlines" else 1 + turn % (len(textures) - 1)
    texture = textures[(k + ahead) % len(textures)]
    file = f"{shapes[k]}{turn + 1}-{texture}{turn + 1}.png"
    return shapes[k], texture, texture if kind == "texture" else shapes[k], file


def generator(name, index):
    """Random numbers that belong to one image of one data set, whoever draws it."""
    digest = hashlib.blake2b(f"{name}\0{index}".encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest, "little"))


def draw_some(folder, name, kind, size, indexes):
    """Draw the images of some indexes into the folders `images` and `masks`; their number."""
    for index in indexes:
        if kind == "painting":
            image = painting(generator(name, index), size)
            save(image, folder / "images" / "painting" / f"{index:05d}.png")
            continue
        shape, texture, label, file = cues(kind, index)
        image, mask = picture(generator(name, index), shape, texture, size)
        save(image, folder / "images" / label / file)
        save(mask.astype(np.uint8) * 255, folder / "masks" / label / file)
    return len(indexes)


def save(image, path):
    Image.fromarray(image).save(path, compress_level=1)


def end_with_parent():
    """Make a worker process end when the one that started it was killed: it would wait for work forever."""
    threading.Thread(target=jobs.end_with_snakemake, args=[psutil.Process(os.getppid())], daemon=True).start()


def draw(folder, name, kind, images, size, workers=1):
    """Draw a data set of `images` square images of `size` pixels into a folder:

    images/<class>/<file>.png  8-bit RGB
    masks/<class>/<file>.png   8-bit grey: 255 where at least half of the pixel is the object, 0 elsewhere
    index.csv                  path, shape, texture, texture_class (the outline that carries this texture in
                               "natural" images), mask; path is relative to images/, mask to the folder

    kind: "natural", where outline k always carries texture k so that both tell the class, which is named by
    the outline; "conflict", where they disagree; "texture", where they disagree and the class is the texture;
    "outlines", of FURTHER_OUTLINES, whose textures stand for none of them, so that the index has no
    texture_class; "painting", all of one class, whose index has paths alone and whose folder masks/ is empty.
    name: the data
    set's; each image is a function of (name, its number), so any number of workers draws the same bytes,
    and sets of different names never share an image.
    """
    if kind not in KINDS:
        raise ValueError(f"images can be drawn {', '.join(KINDS)}, not {kind!r}")
    folder = Path(folder)
    (folder / "masks").mkdir(parents=True)
    for label in KINDS[kind]:
        (folder / "images" / label).mkdir(parents=True)
        if kind != "painting":
            (folder / "masks" / label).mkdir()
    chunks = [range(start, min(start + CHUNK_IMAGES, images)) for start in range(0, images, CHUNK_IMAGES)]
    # forked, because any other way of starting processes runs the caller's script again
    with (
        ProcessPoolExecutor(workers, get_context("fork"), end_with_parent) as pool,
        jobs.progress(total=images, desc=name, unit="image") as bar,
    ):
        for count in pool.map(partial(draw_some, folder, name, kind, size), chunks):
            bar.update(count)
    with open(folder / "index.csv", "w", newline="") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        if kind == "painting":
            writer.writerows([["path"], *([f"painting/{index:05d}.png"] for index in range(images))])
            return
        stands_for = dict(zip(TEXTURES, OUTLINES, strict=True))
        further = kind == "outlines"
        writer.writerow(["path", "shape", "texture", *([] if further else ["texture_class"]), "mask"])
        for shape, texture, label, file in (cues(kind, index) for index in range(images)):
            told = [shape, texture, *([] if further else [stands_for[texture]])]
            writer.writerow([f"{label}/{file}", *told, f"masks/{label}/{file}"])
