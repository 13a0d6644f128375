"""Bright and dark squares, and what finds them: a network that is trained in seconds, and a file of arbitrary weights."""
import csv

import numpy as np
from PIL import Image

from mobilenet_keras.photos import AnnotatedPart, Photos
from mobilenet_keras.preprocessing import Preprocessing
from mobilenet_keras.tasks.boxes import Boxes
from mobilenet_keras.tasks.centroids import Centroids
from mobilenet_keras.tflite.builder import Builder

SIDE, NAMES = 32, ("bright", "dark")
CHOICES = dict(epochs=12, batch_size=8, learning_rate=.01, augment=False, seed=1)


def squares(n, seed, classes=NAMES):
    """Photos with one or two squares each, a bright and a dark kind, and where they are."""
    rng = np.random.default_rng(seed)
    pixels, truth = np.full((n, SIDE, SIDE, 3), 128, np.uint8), []
    for photo in pixels:
        boxes, labels = [], []
        for corner in rng.permutation([(2, 2), (18, 2), (2, 18), (18, 18)])[:rng.integers(1, 3)]:
            x, y = corner + rng.integers(0, 3, 2)
            label = int(rng.integers(2))
            photo[y:y + 8, x:x + 8] = (230, 20)[label]
            boxes, labels = [*boxes, (x, y, x + 8, y + 8)], [*labels, label]
        truth.append(Boxes(np.array(boxes)/SIDE, labels))
    return AnnotatedPart(pixels, np.zeros(n, int), tuple(f"{seed}-{i}" for i in range(n)), classes, truth=tuple(truth))


def three_parts(classes=NAMES):
    return Photos(squares(64, 0, classes), squares(16, 1, classes), squares(16, 2, classes), Preprocessing(SIDE, SIDE))


def written(folder, n=24):
    """The same in a train and a test folder, with a table of boxes each."""
    for part, seed in (("train", 0), ("test", 2)):
        some = squares(n, seed)
        (folder / part / "images").mkdir(parents=True)
        rows = [("file", "class", "x1", "y1", "x2", "y2")]
        for i, (pixels, boxes) in enumerate(zip(some.pixels, some.truth, strict=True)):
            Image.fromarray(pixels).save(folder / part / f"images/{i}.png")
            rows += [(f"images/{i}.png", NAMES[label], *(SIDE*box)) for label, box in zip(boxes.labels, boxes.xyxy, strict=True)]
        with open(folder / part / "boxes.csv", "w", newline="", encoding="utf-8") as f:
            csv.writer(f).writerows(rows)
    return folder


def network(tensorflow, **more):
    from mobilenet_keras.networks.models import MobileNetV1
    tensorflow.keras.utils.set_random_seed(0)
    return MobileNetV1(.25, (SIDE, SIDE, 3), classes=list(NAMES), head="centroid", stride=4, **more)


def finder(names=NAMES, threshold=.5, **more):
    """A `.tflite` of arbitrary weights that says it finds things."""
    model = Builder((1, SIDE, SIDE, 3), 1).conv(8, 3, 2).depthwise().conv(16, 3, 2).conv(len(names), 1).logistic().model("finder")
    return model.with_metadata(names, Preprocessing(SIDE, SIDE), task=Centroids(tuple(names), threshold), **more)
