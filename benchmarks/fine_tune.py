"""Fine-tuning on two sets of photos: frozen, whole and int8, three seeds with their interval; speed beside plain Keras; kills.

    python benchmarks/fine_tune.py accuracy ../shared/data/trash6 ../shared/data/clothing10   # hours on two cores
    python benchmarks/fine_tune.py speed ../shared/data/trash6                                # minutes
    python benchmarks/fine_tune.py kills                                                      # 20 kills at random moments

Each writes benchmarks/fine_tune_WHAT.csv. The test part is read once for each row, after all choices; nothing is chosen by it.
"""
import csv
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from record import record

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
HERE = Path(__file__).resolve().parent
WEIGHTS = os.environ.get("WEIGHTS", "imagenet")  # or a file of Keras Applications
RUNS = Path(os.environ.get("RUNS", Path(tempfile.gettempdir()) / "fine_tune_runs"))  # a killed benchmark goes on with them
SEEDS, SIZES = (0, 1, 2), ((96, 25), (160, 15))  # input side, epochs of the whole network, as the plain script that is compared


def write(what, rows):
    record(__file__, rows, f"fine_tune_{what}")


def interval(values):
    """Mean and half the width of its 95 % interval (Student's t for the numbers of seeds used here)."""
    n, mean = len(values), sum(values) / len(values)
    if n < 2:
        return mean, math.nan
    t = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}[n]
    return mean, t * math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1) / n)


def one(folder, size, epochs, seed):
    """A row of accuracies, the frozen phase with its default of epochs; a run that was killed goes on in its folder."""
    from mobilenet_keras.data import Photos
    from mobilenet_keras.models import MobileNetV1, keras
    from mobilenet_keras.quantization import quantize
    from mobilenet_keras.training import fine_tune
    photos, found = Photos.from_folder(folder, size, seed=seed), {}
    for phase, counts in (("frozen", (0, None)), ("full", (epochs, None))):
        keras.utils.set_random_seed(seed)
        net = MobileNetV1(.25, (size, size, 3), photos.classes, WEIGHTS)
        run = fine_tune(net, photos, *counts, seed=seed, folder=RUNS / f"{Path(folder).name}-{size}-{seed}-{phase}")
        found[f"{phase}_validation"] = run.validation_accuracy
        if phase == "frozen":
            found[phase] = run.evaluate(photos.test)["accuracy"]
    report = quantize(run, photos).report
    found |= dict(full=report["float_accuracy"], int8=report["int8_accuracy"], agreement=report["agreement"])
    return dict(photos=Path(folder).name, size=size, seed=seed, test_photos=len(photos.test)) | {k: round(v, 4) for k, v in found.items()}


def accuracy(folders):
    """Every seed is written down when it is done, and not done again; the summary says of how many seeds it is the mean."""
    target = HERE / "fine_tune_accuracy.csv"
    rows = list(csv.DictReader(open(target, encoding="utf-8"))) if target.exists() else []
    for size, epochs in SIZES:
        for folder in folders:
            for seed in SEEDS:
                if (Path(folder).name, str(size), str(seed)) in {(r["photos"], str(r["size"]), str(r["seed"])) for r in rows}:
                    continue
                rows.append(one(folder, size, epochs, seed))
                print(rows[-1], flush=True)
                write("accuracy", rows)
                summarize(rows)


def summarize(rows):
    groups = {}
    for row in rows:
        groups.setdefault((row["photos"], row["size"]), []).append(row)
    found = []
    for (photos, size), same in groups.items():
        for what in ("frozen", "full", "int8", "agreement"):
            mean, half = interval([float(r[what]) for r in same])
            found.append(dict(photos=photos, size=size, what=what, seeds=len(same), mean=round(mean, 4),
                              plus_minus="" if math.isnan(half) else round(half, 4)))
    write("summary", found)


def plain(photos, size):
    """A plain script: keras.applications, Keras's own random layers, `fit`."""
    import keras
    import numpy as np
    layers = keras.layers
    x = inputs = keras.Input((size, size, 3))
    for layer in (layers.RandomFlip("horizontal"), layers.RandomTranslation(.1, .1, fill_mode="nearest"),
                  layers.RandomRotation(.05, fill_mode="nearest"),
                  layers.RandomZoom(.15, fill_mode="nearest"), layers.RandomBrightness(.15, value_range=(-1, 1))):
        x = layer(x)
    base = keras.applications.MobileNet((size, size, 3), .25, include_top=False, weights=None, pooling="avg")
    model = keras.Model(inputs, layers.Dense(len(photos.classes), "softmax")(base(x, training=False)))
    x, y = photos.train.pixels / np.float32(127.5) - 1, photos.train.labels

    def epochs(frozen, n):
        base.trainable = not frozen
        model.compile(keras.optimizers.AdamW(1e-3), "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
        validation = photos.validation.pixels / np.float32(127.5) - 1, photos.validation.labels
        model.fit(x, y, batch_size=32, epochs=1, verbose=0, validation_data=validation)  # compiles
        start = time.perf_counter()
        model.fit(x, y, batch_size=32, epochs=n, verbose=0, validation_data=validation)
        return (time.perf_counter() - start) / n
    return epochs


def ours(photos, size):
    from mobilenet_keras.models import MobileNetV1
    from mobilenet_keras.training import fine_tune

    def epochs(frozen, n):
        """The difference of two runs: what each spends once, compilation above all, cancels; cached features are paid in full."""
        times = []
        for count in (1, 1 + n):
            net = MobileNetV1(.25, (size, size, 3), photos.classes)
            net.pretrained = True
            with tempfile.TemporaryDirectory() as d:
                start = time.perf_counter()
                fine_tune(net, photos, 0 if frozen else count, count if frozen else 0, folder=f"{d}/run")
                times.append(time.perf_counter() - start)
        return (times[1] - times[0]) / n
    return epochs


def features(photos, size):
    """Seconds for the cached features, once for each run."""
    from mobilenet_keras.models import MobileNetV1
    from mobilenet_keras.training import _Trainer
    trainer = _Trainer(MobileNetV1(.25, (size, size, 3), photos.classes), photos, dict(label_smoothing=0, class_weights=None, augment={}, seed=0))
    start = time.perf_counter()
    trainer.features(photos.train)
    return time.perf_counter() - start


def batches(photos):
    """Seconds to make the batches of an epoch, without a network."""
    from mobilenet_keras.training import AUGMENTATION, _Batches, draw_augmentation

    def begin(epoch):
        warp, light = draw_augmentation(AUGMENTATION, len(photos.train), photos.preprocessing.shape, 0, epoch)
        return lambda at: (photos.preprocessing(photos.train.pixels[at]), warp[at], light[at])
    start = time.perf_counter()
    made = _Batches(begin, photos.train.labels, None, 32, 0)
    for i in range(len(made)):
        made[i]
    return time.perf_counter() - start


def speed(folders, size=96):
    """Seconds an epoch, and what making the batches alone takes of it."""
    from mobilenet_keras.data import Photos
    rows = []
    for folder in folders:
        photos = Photos.from_folder(folder, size)
        for phase in ("frozen", "whole"):
            a, b = (make(photos, size)(phase == "frozen", 4) for make in (plain, ours))
            once = features(photos, size) if phase == "frozen" else 0
            rows.append(dict(photos=Path(folder).name, size=size, phase=phase, cores=os.cpu_count(), plain_s=round(a, 2),
                             ours_s=round(b, 2), once_s=round(once, 2), times_faster_over_20_epochs=round(20 * a / (20 * b + once), 2)))
        rows.append(dict.fromkeys(rows[-1], "")
                    | dict(photos=Path(folder).name, size=size, phase="batches alone", cores=os.cpu_count(), ours_s=round(batches(photos), 2)))
        print(*rows[-3:], sep="\n", flush=True)
    write("speed", rows)


CHILD = """
import sys, numpy as np
from mobilenet_keras.data import Photos
from mobilenet_keras.models import MobileNetV1, keras
from mobilenet_keras.training import fine_tune
rng, labels = np.random.default_rng(0), np.arange(200) % 2
pixels = rng.normal(100 + 30*labels[:, None, None, None], 60, (200, 32, 32, 3)).clip(0, 255).astype(np.uint8)
photos = Photos.from_arrays((pixels, labels), classes=["dark", "light"])
keras.utils.set_random_seed(0)
net = MobileNetV1(.25, (32, 32, 3), photos.classes, output_stride=8, dilation=False, dropout=.1)
fine_tune(net, photos, 20, 3, batch_size=16, average=.95, patience=20, folder=sys.argv[1])
"""


def kills(n=20):
    """A run that is killed `n` times, at random, against one that isn't; a kill may lose the epoch in progress and no more."""
    from mobilenet_keras.training import Run, _read_checkpoint
    rows, chance = [], random.Random(0)

    def epochs(folder):
        return len(_read_checkpoint(folder / "checkpoint.npz")[0]["history"]) if (folder / "checkpoint.npz").exists() else 0
    with tempfile.TemporaryDirectory() as d:
        whole, cut = Path(d) / "whole", Path(d) / "cut"
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", CHILD, whole], check=True, stderr=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
        for i in range(n):
            before = epochs(cut)
            child = subprocess.Popen([sys.executable, "-c", CHILD, cut], stderr=subprocess.DEVNULL)
            after = chance.uniform(.2, .7) * seconds
            try:
                child.wait(after)
            except subprocess.TimeoutExpired:
                child.send_signal(signal.SIGKILL)
            rows.append(dict(kill=i, after_s=round(after, 2), ended=child.wait(), epochs_before=before, epochs_after=epochs(cut)))
            print(rows[-1], flush=True)
            assert rows[-1]["epochs_after"] >= before or rows[-1]["ended"] == 0
        subprocess.run([sys.executable, "-c", CHILD, cut], check=True, stderr=subprocess.DEVNULL)
        a, b = (b"".join(w.numpy().tobytes() for w in Run.open(f).net.weights) for f in (whole, cut))
    print("bit-equal" if a == b else "DIFFERENT")
    for row in rows:
        row["bit_equal"] = a == b
    write("kills", rows)


if __name__ == "__main__":
    what, *folders = sys.argv[1:] or ["kills"]
    dict(accuracy=accuracy, speed=speed, kills=lambda _: kills())[what](folders)
