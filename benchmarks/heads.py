"""What finds things, on real photos: F1, RAM and the loss of int8, by folds, seeds and networks.

    python benchmarks/heads.py [--folds 5] [--seeds 1] [--epochs 80] [--net 0.25/160/16 ...] [--data ../shared/data/cards] [--weights FILE]

The photos of both parts are divided anew into folds; near-duplicates and neighbours (blocks of ten in the order of their names) stay in one.
Of each fold's other photos a sixth, in blocks, are validation photos, which choose the threshold and the form of int8. What is judged is the
compiled model, by the engine: the bytes of a board. Rows are appended to benchmarks/heads.csv as they come, and those that are there aren't
computed again, so the script can be stopped and given again.
"""
import argparse
import csv
import sys
import tempfile
from pathlib import Path

import numpy as np

from mobilenet_keras import Model, Photos
from mobilenet_keras.evaluation import evaluate
from mobilenet_keras.networks.models import MobileNetV1
from mobilenet_keras.photos import AnnotatedPart
from mobilenet_keras.training.fine_tune import fine_tune
from mobilenet_keras.training.quantization import quantize

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "benchmarks/heads.csv"
AUGMENT = dict(flip="horizontal", shift=.15, rotation=.1, zoom=.3, brightness=.2, contrast=.3)
COLUMNS = tuple("""data head net size stride fold seed photos things right wrong missed f1 float_right float_wrong float_missed float_f1
                   threshold streamed_bytes held_bytes file_bytes macs""".split())


def together(photos, larger):
    """All photos of a set as one part, and the number of the block of each: ten neighbours, and with them near-duplicates."""
    parts = lambda photos: [p for p in (photos.train, photos.validation, photos.test) if len(p)]  # noqa: E731
    paths, truth = ([v for part in parts(photos) for v in getattr(part, name)] for name in ("paths", "truth"))
    order = sorted(range(len(paths)), key=lambda i: Path(paths[i]).name)
    pixels, large = (np.concatenate([np.asarray(part.pixels) for part in parts(p)])[order] for p in (photos, larger))
    whole = AnnotatedPart(pixels, np.zeros(len(order), int), tuple(paths[i] for i in order), photos.train.classes, large,
                          truth=tuple(truth[i] for i in order))
    block = np.arange(len(order))//10
    at = {path: i for i, path in enumerate(whole.paths)}
    for cluster in photos.duplicates:
        mine = [at[path] for path in cluster]
        block[np.isin(block, block[mine])] = block[mine].min()
    return whole, block


def folds(path, size, n):
    """`Photos` of each fold: its test photos, and of the rest every sixth block to validate on."""
    photos = Photos.from_annotations(path, size, augment_scale=1)
    whole, block = together(photos, Photos.from_annotations(path, round(1.5*size), augment_scale=1))
    names = np.unique(block)
    for k in range(n):
        test = np.isin(block, names[k::n])
        rest = [b for b in names if b not in names[k::n]]
        validation = np.isin(block, rest[k % 6::6])
        part = lambda mask: whole.take(np.flatnonzero(mask))  # noqa: E731, B023
        yield Photos(part(~test & ~validation), part(validation), part(test), photos.preprocessing)


def row(photos, alpha, size, stride, seed, epochs, weights):
    """Train, quantize, compile and judge once."""
    import keras
    keras.utils.set_random_seed(seed)
    net = MobileNetV1(alpha, (size, size, 3), photos.classes, weights, head="centroid", stride=stride)
    with tempfile.TemporaryDirectory() as folder:
        run = fine_tune(net, photos, epochs, batch_size=16, augment=AUGMENT, seed=seed, folder=Path(folder) / "run")
        model: Model = quantize(run, photos)
        streamed, held = model.compile(), model.compile("held")
        real, board = evaluate(run, photos.test), evaluate(streamed, photos.test)
    of = lambda found: dict(zip(("right", "wrong", "missed"), map(int, found.score.counts.sum((0, 1)))))  # noqa: E731
    return dict(photos=len(photos.test), things=sum(map(len, photos.test.truth)), **of(board), f1=round(board.value, 4),
                **{f"float_{k}": v for k, v in of(real).items()}, float_f1=round(real.value, 4), threshold=run.task.threshold,
                streamed_bytes=streamed.arena, held_bytes=held.arena, file_bytes=len(model.data), macs=model.profile().macs)


def f1(rows, kind=""):
    """Of all things of some runs."""
    right, wrong, missed = (sum(int(r[kind + k]) for r in rows) for k in ("right", "wrong", "missed"))
    return 2*right/(2*right + wrong + missed)


def told(rows):
    """A line for each network: F1 over all things of all folds, with the interval of folds and seeds."""
    print(f"{'network':24} {'runs':>4} {'F1 int8':>8} {'F1 float':>8} {'loss':>7}  {'95 % of the loss':>18} {'streamed':>9} {'held':>8} {'file':>8}")
    for key in dict.fromkeys((r["net"], r["size"], r["stride"]) for r in rows):
        mine = [r for r in rows if (r["net"], r["size"], r["stride"]) == key]
        draws = np.random.default_rng(0).integers(len(mine), size=(2000, len(mine)))
        losses = [f1([mine[i] for i in d], "float_") - f1([mine[i] for i in d]) for d in draws]
        low, high = np.quantile(losses, (.025, .975))
        name, loss = f"{key[0]}/{key[1]}, stride {key[2]}", f1(mine, "float_") - f1(mine)
        streamed, held, file = (int(mine[0][f"{k}_bytes"]) for k in ("streamed", "held", "file"))
        print(f"{name:24} {len(mine):4} {f1(mine):8.3f} {f1(mine, 'float_'):8.3f} {loss:7.3f}  {low:8.3f} to {high:6.3f}"
              f" {streamed:9,} {held:8,} {file:8,}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--folds", type=int, default=5)
    p.add_argument("--seeds", type=int, default=1)
    p.add_argument("--epochs", type=int, default=80)
    p.add_argument("--net", nargs="+", default=["0.25/160/16"], help="alpha/size/stride")
    p.add_argument("--data", default=str(ROOT.parent / "shared/data/cards"))
    p.add_argument("--weights", default=str(ROOT.parent / "shared/models/keras/mobilenet_v1_0.25_224.h5"))
    a = p.parse_args()
    rows = list(csv.DictReader(OUT.open())) if OUT.is_file() else []
    known = {tuple(r[k] for k in COLUMNS[:7]) for r in rows}
    if not Path(a.data).exists():
        told(rows)
        sys.exit(f"{a.data} is not here; these are the rows that were recorded.")
    for seed in range(a.seeds):
        for net in a.net:
            alpha, size, stride = (float(net.split("/")[0]), *map(int, net.split("/")[1:]))
            key = lambda fold: tuple(map(str, (Path(a.data).name, "centroid", f"V1 {alpha:g}", size, stride, fold, seed)))  # noqa: B023, E731
            if all(key(k) in known for k in range(a.folds)):
                continue
            for k, photos in enumerate(folds(a.data, size, a.folds)):
                if key(k) in known:
                    continue
                made = dict(zip(COLUMNS, key(k))) | row(photos, alpha, size, stride, seed, a.epochs, a.weights)
                rows.append({c: str(v) for c, v in made.items()})
                with OUT.open("w", newline="") as f:
                    writer = csv.DictWriter(f, COLUMNS, lineterminator="\n")
                    writer.writeheader()
                    writer.writerows(rows)
                print(made, flush=True)
    told(rows)


if __name__ == "__main__":
    main()
