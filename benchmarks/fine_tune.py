"""Fine-tuning on two sets of photos: frozen, whole and int8, three seeds with their interval; speed beside plain Keras; kills.

    python benchmarks/fine_tune.py accuracy ../shared/data/trash6 ../shared/data/clothing10   # hours on two cores
    python benchmarks/fine_tune.py refit ../shared/data/trash6      # the same, trained on the validation photos too, when all is chosen
    python benchmarks/fine_tune.py choices ../shared/data/trash6    # what each default is worth, on validation photos
    python benchmarks/fine_tune.py speed ../shared/data/trash6                                # minutes
    python benchmarks/fine_tune.py kills                                                      # 20 kills at random moments
    python benchmarks/fine_tune.py devices ../shared/data/trash6    # one device and two virtual CPUs, three epochs, three seeds

Each writes benchmarks/fine_tune_WHAT.csv. The test part is read once for each row, after all choices; nothing is chosen by it.
It begins with published ImageNet weights of MobileNetV1 0.25, of the resolution nearest to the photos' as the library takes them,
or without a network with files of them: WEIGHTS="96=mobilenet_v1_0.25_128_quant.tflite 160=mobilenet_v1_0.25_224.h5".
"""
import csv
import itertools
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

from record import record

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
HERE = Path(__file__).resolve().parent
WEIGHTS = dict(pair.split("=", 1) for pair in os.environ.get("WEIGHTS", "").split())  # {input side: file}
RUNS = Path(os.environ.get("RUNS", Path(tempfile.gettempdir()) / "fine_tune_runs"))  # a killed benchmark goes on with them
SEEDS, SIZES = (0, 1, 2), (96, 160)  # input side
SCHEDULES = {"default": {96: None, 160: None}, "short": {96: 25, 160: 15}}  # epochs of the whole network; short is as long as the plain script's


def write(what, rows):
    record(__file__, rows, f"fine_tune_{what}")


def read(what):
    """The rows written down so far."""
    path = HERE / f"fine_tune_{what}.csv"
    return list(csv.DictReader(open(path, encoding="utf-8"))) if path.exists() else []


def interval(values):
    """Mean and half the width of its 95 % interval (Student's t)."""
    from mobilenet_keras.sweeps import seeds_interval
    mean, half = seeds_interval(values)
    return mean, math.nan if half is None else half


def start(size):
    """The name of the weights to begin with."""
    return Path(WEIGHTS[str(size)]).stem if str(size) in WEIGHTS else "imagenet"


def fresh(photos, size, seed):
    """A network for these photos, pretrained but for its classifier."""
    from mobilenet_keras.networks.importers import load
    from mobilenet_keras.networks.layers import keras
    from mobilenet_keras.networks.models import MobileNetV1
    keras.utils.set_random_seed(seed)
    shape = size, size, 3
    if str(size) not in WEIGHTS:
        return MobileNetV1(.25, shape, photos.classes, "imagenet")
    return load(WEIGHTS[str(size)], classes=photos.classes, input_shape=shape)


def one(folder, size, schedule, seed, refit=False):
    """A row of accuracies, the frozen phase with its default of epochs; a run that was killed goes on in its folder."""
    from mobilenet_keras.photos import Photos
    from mobilenet_keras.training.fine_tune import fine_tune
    from mobilenet_keras.training.quantization import quantize
    photos, found, epochs = Photos.from_folder(folder, size, seed=seed, refit=refit), {}, SCHEDULES[schedule][size]
    for phase, counts in (("refit", (epochs, None)),) if refit else (("frozen", (0, None)), ("full", (epochs, None))):
        kept = RUNS / f"{Path(folder).name}-{size}-{start(size)}-{schedule}-{seed}-{phase}"
        run = fine_tune(fresh(photos, size, seed), photos, *counts, seed=seed, folder=kept)
        if not refit:
            found[f"{phase}_validation"] = run.validation_accuracy
        if phase == "frozen":
            found[phase] = run.evaluate(photos.test).accuracy
    report = quantize(run, photos).comparison
    found |= dict(full=report["float_accuracy"], int8=report["int8_accuracy"], agreement=report["agreement"])
    row = dict(photos=Path(folder).name, size=size, weights=start(size), schedule=schedule, epochs=run.settings["epochs"], seed=seed,
               test_photos=len(photos.test))
    return row | {k: round(v, 4) for k, v in found.items()}


CHOICES = {  # name: (arguments of Photos, of fine_tune); the first is compared with
    "as it is": ({}, {}),
    "views of photos at the network's size": (dict(augment_scale=1), {}),
    "learning rate 1e-3": ({}, dict(learning_rate=1e-3)),
    "weight decay 0.01": ({}, dict(weight_decay=.01)),
    "running statistics of momentum 0.99": ({}, dict(bn_momentum=.99)),
    "contrast and cutout, too": ({}, dict(augment=dict(flip="horizontal", shift=.1, rotation=.05, zoom=.15, brightness=.15,
                                                       contrast=.3, cutout=.25))),
    "averaged weights": ({}, dict(ema_decay=.99)),
    "twice the epochs": ({}, dict(epochs=50)),
}


def choices(folders, size=96, epochs=25):
    """Accuracy and loss on validation photos for each choice; the test part isn't read."""
    from mobilenet_keras.photos import Photos
    from mobilenet_keras.training.fine_tune import fine_tune
    rows = read("choices")
    for seed in SEEDS:
        for name, (reading, training) in CHOICES.items():
            for folder in map(Path, folders):
                if (folder.name, name, str(seed)) in {(r["photos"], r["choice"], str(r["seed"])) for r in rows}:
                    continue
                photos = Photos.from_folder(folder, size, seed=seed, **reading)
                kept = RUNS / f"{folder.name}-{seed}-{list(CHOICES).index(name)}"
                run = fine_tune(fresh(photos, size, seed), photos, seed=seed, folder=kept, **dict(epochs=epochs) | training)
                last = run.history[-1]
                rows.append(dict(photos=folder.name, size=size, weights=start(size), seed=seed, choice=name, training=round(last["accuracy"], 4),
                                 validation=round(last["validation_accuracy"], 4), validation_loss=round(last["validation_loss"], 4)))
                print(rows[-1], flush=True)
                write("choices", rows)


def accuracy(folders, what="accuracy"):
    """Every seed is written down when it is done, and not done again; the summary says of how many seeds it is the mean."""
    rows = read(what)
    for schedule, size, folder, seed in itertools.product(SCHEDULES, SIZES, folders, SEEDS):
        key = dict(photos=Path(folder).name, size=str(size), weights=start(size), schedule=schedule, seed=str(seed))
        if any(key.items() <= {k: str(v) for k, v in row.items()}.items() for row in rows):
            continue
        rows.append(one(folder, size, schedule, seed, what == "refit"))
        print(rows[-1], flush=True)
        write(what, rows)
        summarize()


def summarize():
    """Means of all that was measured so far, with and without the validation photos to learn from."""
    rows = [row | dict(learned=learned) for what, learned in (("accuracy", "training"), ("refit", "training and validation"))
            for row in read(what)]
    groups, found = {}, []
    for row in rows:
        groups.setdefault(tuple((k, row[k]) for k in ("photos", "size", "weights", "schedule", "learned")), []).append(row)
    for group, same in sorted(groups.items(), key=lambda item: item[0][3]):
        row = dict(group) | dict(epochs=same[0]["epochs"], seeds=len(same))
        for what in ("frozen", "full", "int8", "agreement"):
            mean, half = interval([float(r[what]) for r in same]) if what in same[0] else (math.nan, math.nan)
            row |= {what: mean, f"{what}_plus_minus": half}
        found.append({k: v if not isinstance(v, float) else "" if math.isnan(v) else round(v, 4) for k, v in row.items()})
    write("summary", found)


def curves():
    """Training and validation accuracy of every whole epoch of the runs that are kept in RUNS, beside those written down before."""
    rows = read("curves")
    for log in sorted(RUNS.glob("*-full/log.csv")):
        photos, size, weights, schedule, seed, _ = log.parent.name.rsplit("-", 5)
        run = dict(photos=photos, size=size, weights=weights, schedule=schedule, seed=seed)
        rows = [r for r in rows if not run.items() <= r.items()]
        rows += [run | dict(epoch=r["epoch"], training=r["accuracy"], validation=r["validation_accuracy"])
                 for r in csv.DictReader(open(log, encoding="utf-8")) if r["phase"] == "whole"]
    write("curves", rows)


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
    from mobilenet_keras.networks.models import MobileNetV1
    from mobilenet_keras.training.fine_tune import fine_tune

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


def trainer(photos, size):
    from mobilenet_keras.networks.models import MobileNetV1
    from mobilenet_keras.training.augment import AUGMENTATION
    from mobilenet_keras.training.fine_tune import _Trainer
    settings = dict(label_smoothing=0, class_weights=None, augment=AUGMENTATION, seed=0, batch_size=32, head_views=1)
    return _Trainer(MobileNetV1(.25, (size, size, 3), photos.classes), photos, settings)


def features(photos, size):
    """Seconds for the cached features of both parts, once for each run."""
    mine = trainer(photos, size)
    start = time.perf_counter()
    mine.frozen()
    return time.perf_counter() - start


def batches(photos, size):
    """Seconds to make the batches of an epoch, without a network."""
    made = trainer(photos, size).whole()[1]
    start = time.perf_counter()
    made.start(0)
    for i in range(len(made)):
        made[i]
    return time.perf_counter() - start


def speed(folders, size=96):
    """Seconds an epoch, and what making the batches alone takes of it."""
    from mobilenet_keras.photos import Photos
    rows = []
    for folder in folders:
        photos = Photos.from_folder(folder, size)
        for phase in ("frozen", "whole"):
            a, b = (make(photos, size)(phase == "frozen", 4) for make in (plain, ours))
            once = features(photos, size) if phase == "frozen" else 0
            rows.append(dict(photos=Path(folder).name, size=size, phase=phase, cores=os.cpu_count(), plain_s=round(a, 2),
                             ours_s=round(b, 2), once_s=round(once, 2), times_faster_over_20_epochs=round(20 * a / (20 * b + once), 2)))
        rows.append(dict.fromkeys(rows[-1], "")
                    | dict(photos=Path(folder).name, size=size, phase="batches alone", cores=os.cpu_count(), ours_s=round(batches(photos, size), 2)))
        print(*rows[-3:], sep="\n", flush=True)
    write("speed", rows)


def devices(folders, size=96, epochs=3):
    """Accuracy on one device and on two virtual CPUs, which train the same, and whether the latter lies within the former's interval of seeds."""
    import tensorflow as tf
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
    from mobilenet_keras.evaluation import evaluate
    from mobilenet_keras.photos import Photos
    from mobilenet_keras.training.fine_tune import fine_tune
    rows = []
    for folder, seed, count in itertools.product(folders, SEEDS, (1, 2)):
        photos = Photos.from_folder(folder, size, seed=seed)
        kept = RUNS / f"{Path(folder).name}-{size}-{start(size)}-{epochs}-{seed}-{count}-devices"
        names = [f"CPU:{i}" for i in range(count)] if count > 1 else None
        run = fine_tune(fresh(photos, size, seed), photos, epochs, seed=seed, folder=kept, devices=names)
        rows.append(dict(photos=Path(folder).name, size=size, weights=start(size), epochs=epochs, seed=seed, devices=count,
                         validation=round(run.validation_accuracy, 4), test=round(evaluate(run, photos.test).accuracy, 4),
                         test_photos=len(photos.test)))
        print(rows[-1], flush=True)
    for row in rows:
        mean, half = interval([r["test"] for r in rows if r["photos"] == row["photos"] and r["devices"] == 1])
        row |= dict(mean_of_one=round(mean, 4), plus_minus=round(half, 4), inside=abs(row["test"] - mean) <= half)
    write("devices", rows)


def kills(n=20, epochs=12):
    """A small run that is killed `n` times at random moments, against one that isn't: a kill loses the epoch in progress and no more."""
    sys.path.insert(0, str(HERE.parent / "tests"))
    import tensorflow as tf  # before the forks, which then have it at once; nothing runs in this process, so there are no threads to lose
    from test_training import train, weights

    from mobilenet_keras.run import Run, read_checkpoint
    rows, chance = [], random.Random(0)

    def trained(folder, after=None):
        """How a process ended that trains in `folder` and kills itself after so many seconds; the seconds that it took."""
        start, pid = time.perf_counter(), os.fork()
        if not pid:
            tf.config.run_functions_eagerly(True)
            if after:
                threading.Timer(after, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            train(folder, epochs=epochs, patience=epochs)
            Path(f"{folder}.weights").write_bytes(weights(Run.open(folder)))
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), time.perf_counter() - start

    def same_bits():
        return cut.with_suffix(".weights").read_bytes() == whole.with_suffix(".weights").read_bytes()

    def done(folder):
        return len(read_checkpoint(folder / "checkpoint.npz")[0]["history"]) if (folder / "checkpoint.npz").exists() else 0
    with tempfile.TemporaryDirectory() as d:
        whole, cut = Path(d) / "whole", Path(d) / "cut"
        seconds = trained(whole)[1]
        while sum(row["ended"] != 0 for row in rows) < n:
            before, after = done(cut), chance.uniform(.1, .7) * seconds
            ended = trained(cut, after)[0]
            rows.append(dict(process=len(rows), after_s=round(after, 2), ended=ended, epochs_before=before, epochs_after=done(cut)))
            print(rows[-1], flush=True)
            if ended == 0:  # finished before it could be killed: begin again, for kills at other moments
                assert same_bits(), "other bits"
                shutil.rmtree(cut)
            else:
                assert rows[-1]["epochs_after"] >= before, "a kill lost an epoch that was complete"
        assert trained(cut)[0] == 0 and same_bits(), "other bits"
    write("kills", [row | dict(bit_equal=True) for row in rows])


if __name__ == "__main__":
    what, *folders = sys.argv[1:] or ["kills"]
    dict(accuracy=accuracy, refit=lambda folders: accuracy(folders, "refit"), choices=choices, speed=speed, devices=devices,
         curves=lambda _: curves(), summary=lambda _: summarize(), kills=lambda _: kills())[what](folders)
