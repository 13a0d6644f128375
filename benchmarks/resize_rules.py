"""How a photo is made to fit Google's quantized ImageNet networks: top-1 and top-5 of 250 photos under each rule.

    python benchmarks/resize_rules.py       # about a minute; writes benchmarks/resize_rules.csv

The photos, one a class, are those of ../shared/data/imagenet_sample250. They resemble training images, so the figures compare rules
and are no accuracy.
"""
import csv
import sys
from pathlib import Path

import numpy as np
from record import record

from mobilenet_keras.preprocessing import open_photo
from mobilenet_keras.tflite.interpreters import Classifier
from mobilenet_keras.tflite.model import Model

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"
MODELS = "mobilenet_v1_0.25_128_quant", "mobilenet_v1_0.5_160_quant", "mobilenet_v2_1.0_224_quant"
RULES = "stretch", "stretch:0.875", "crop", "crop:0.875", "pad"


def ranks(name, rule, photos):
    """Where each photo's own class stands among a network's 1,001; 0 is the first."""
    classifier = Classifier(Model.open(SHARED / f"models/coral/{name}.tflite").described(resize=rule))
    return np.array([np.argsort(-classifier.predict(image).scores.astype(int), kind="stable").tolist().index(label + 1) for image, label in photos])


if __name__ == "__main__":
    folder = SHARED / "data/imagenet_sample250"
    with open(folder / "labels.csv", newline="", encoding="utf-8") as file:
        photos = [(open_photo(folder / row["file"]), int(row["index"])) for row in csv.DictReader(file)]
    rows = []
    for name in MODELS:
        for rule in RULES:
            found = ranks(name, rule, photos)
            top = [round(float((found < k).mean()), 3) for k in (1, 5)]
            rows.append({"model": name, "resize": rule, "photos": len(found), "top1": top[0], "top5": top[1]})
            print(*rows[-1].values(), file=sys.stderr, flush=True)
    record(__file__, rows)
    print(f"{'network':28}{'resize':>15}{'top-1':>8}{'top-5':>8}")
    for r in rows:
        print(f"{r['model']:28}{r['resize']:>15}{r['top1']:8.1%}{r['top5']:8.1%}")
