"""How a photo is made to fit a square input: stretch, centre crop or pad, judged on validation photos of two sets.

    WEIGHTS_FILE=mobilenet_v1_0.25_224.h5 python benchmarks/resize_default.py ../shared/data/trash6 ../shared/data/clothing10   # 13 CPU-minutes
    PHASES="frozen whole" ...   # and the whole network, 6 epochs: 2 CPU-minutes a run more

MobileNetV1 0.25 at 96 px, pretrained: its head alone on frozen features, 20 epochs. That asks which rule keeps what a network of ImageNet
knows, at a fraction of a training's cost; training the whole network makes up for a part of the difference, so it is the largest to expect.
A seed draws the validation part (where the set has none of its own), the order and the augmentation; the same seed sees the same photos with
each rule, so the differences are paired. The test part is not looked at. Writes benchmarks/resize_default.csv, a row for each run (those in
it are not run again); prints the means of the differences from stretch with the interval of their mean (Student's t).
"""
import csv
import os
import sys
import tempfile
import time
from pathlib import Path

from fine_tune import interval
from record import record

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
SIZE, RULES = 96, ("stretch", "crop", "pad")
PHASES = {"frozen": ((0, 20), (0, 1, 2, 3)), "whole": ((6, 20), (0,))}  # {phase: ((epochs, frozen epochs), seeds)}


def one(folder, resize, phase, seed):
    """A row: validation accuracy of one run."""
    from mobilenet_keras.networks.layers import keras
    from mobilenet_keras.networks.models import MobileNetV1
    from mobilenet_keras.photos import Photos
    from mobilenet_keras.training.fine_tune import fine_tune
    start, (counts, _) = time.process_time(), PHASES[phase]
    photos = Photos.from_folder(folder, SIZE, resize, seed=seed, augment_scale=1 if phase == "frozen" else 1.5)
    keras.utils.set_random_seed(seed)
    net = MobileNetV1(.25, (SIZE, SIZE, 3), photos.classes, os.environ.get("WEIGHTS_FILE", "imagenet"))
    with tempfile.TemporaryDirectory() as runs:
        run = fine_tune(net, photos, *counts, seed=seed, folder=Path(runs) / "run")
    return dict(set=Path(folder).name, phase=phase, resize=resize, seed=seed, photos=len(photos.validation),
                validation_accuracy=round(run.validation_accuracy, 4), cpu_s=round(time.process_time() - start))


def main(folders):
    path = Path(__file__).with_suffix(".csv")
    rows = list(csv.DictReader(open(path, encoding="utf-8"))) if path.exists() else []  # what was measured before is kept
    done = {(r["set"], r["phase"], r["resize"], int(r["seed"])) for r in rows}
    for phase in os.environ.get("PHASES", "frozen").split():
        seeds = PHASES[phase][1]
        for folder in folders:
            for seed in seeds:
                for resize in RULES:
                    if (Path(folder).name, phase, resize, seed) in done:
                        continue
                    rows.append(one(folder, resize, phase, seed))
                    print(rows[-1], flush=True)
                    record(__file__, rows)
            for resize in RULES[1:]:
                mine = [r for r in rows if (r["set"], r["phase"]) == (Path(folder).name, phase)]
                found = {rule: [float(r["validation_accuracy"]) for r in mine if r["resize"] == rule] for rule in ("stretch", resize)}
                mean, half = interval([b - a for a, b in zip(*found.values())])
                print(f"{Path(folder).name}, {phase}: {resize} - stretch = {mean:+.3f} +- {half:.3f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
