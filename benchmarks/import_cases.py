"""Classifiers as people build them, through every container and both Kerases: is each imported as it is?

    python benchmarks/import_cases.py               # all pairs of factors; prints and writes benchmarks/import_cases.csv
    python benchmarks/import_cases.py --mutations   # 20,000 broken files of each reader of graphs; writes benchmarks/import_mutations.csv

Cases of Keras 2 need `pip install tf-keras`. The right answers are the original model's own. Some 20 minutes on two cores.
"""

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))
import numpy as np  # noqa: E402
from import_cases import FACTORS, build, inputs_of, pairwise, write  # noqa: E402
from record import record  # noqa: E402

LIMITS = dict(int8=0.15, dynamic=0.05, float16=0.01)  # of a score; 1e-4 elsewhere


def one(K, case):
    """(outcome, largest difference of a score) of a case."""
    from mobilenet_keras.core import MobileNetError
    from mobilenet_keras.networks.importers import load

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        model, x = build(K, case), inputs_of(case)
        y = np.asarray(model(x, training=False))
        try:
            net = load(write(K, model, case, folder, x))
        except MobileNetError as e:
            return f"refused: {str(e)[:160]}", None
        gap = float(np.abs(np.asarray(net(x, training=False)).reshape(y.shape) - y).max())
    return "the same" if gap <= LIMITS.get(case["container"], 1e-4) else "ANOTHER ANSWER", gap


def cases(version):
    """The cases of one Keras, a line of JSON each; run in a process of its own, since both don't mix."""
    K = __import__("keras" if version == "3" else "tf_keras")
    for case in pairwise(FACTORS):
        if case["keras"] == version:
            outcome, gap = one(K, case)
            print(json.dumps(case | dict(outcome=outcome, largest_difference=gap)), flush=True)


def grid():
    rows = []
    for version in FACTORS["keras"]:
        child = subprocess.Popen([sys.executable, __file__, "--keras", version], stdout=subprocess.PIPE, text=True)
        for line in child.stdout:
            rows.append(json.loads(line))
            print(rows[-1]["outcome"], line.strip(), flush=True)
        if child.wait():
            print(f"Keras {version} didn't run to its end", file=sys.stderr)
    record(__file__, rows)
    wrong = [r for r in rows if r["outcome"] == "ANOTHER ANSWER"]
    same, refused = (sum(r["outcome"].startswith(word) for r in rows) for word in ("the same", "refused"))
    print(f"{len(rows)} cases: {same} the same, {refused} refused, {len(wrong)} with another answer")
    return len(wrong)


def mutations(count):
    """Broken files of each reader of graphs; the peak of memory beside the file's size."""
    import resource

    import h5py
    import keras
    import tensorflow as tf
    from import_mutations import json_mutations
    from import_mutations import mutations as broken_bytes

    from mobilenet_keras.core import MobileNetError
    from mobilenet_keras.networks.anatomy import anatomy
    from mobilenet_keras.networks.graph import keras_graph, tflite_graph
    from mobilenet_keras.networks.tf_graph import saved_model_graph
    from mobilenet_keras.networks.weight_files import BROKEN, _read_checkpoint, read_weights
    from mobilenet_keras.tflite.model import Model

    case = dict(net="v1 cut", head="two dense", scaling="operators", nesting="nested", keras="3")
    with tempfile.TemporaryDirectory() as folder:
        model = build(keras, case)
        h5 = write(keras, model, case | dict(container="h5"), folder, None)
        with h5py.File(h5) as f:
            config = json.loads(f.attrs["model_config"])
        arrays = read_weights(h5).arrays
        index = {tuple(n.split("/")[-2:]): (n, a) for n, a in arrays.items()}
        x = keras.Input((8, 8, 3))
        small = keras.Model(x, keras.layers.Dense(2)(keras.layers.Flatten()(keras.layers.ReLU(6)(keras.layers.Conv2D(4, 3, 2)(x / 127.5)))))
        small.export(f"{folder}/sm", verbose=False)
        pb, (_, variables, names) = Path(f"{folder}/sm/saved_model.pb").read_bytes(), _read_checkpoint(f"{folder}/sm/variables/variables")
        tflite = tf.lite.TFLiteConverter.from_keras_model(small).convert()
    readers = {
        "Keras's configuration": lambda: (
            (lambda c=c: keras_graph(c, lambda n, ws: {w: index[n.name, w] for w in ws if (n.name, w) in index}))
            for c in json_mutations(config, count)
        ),
        "SavedModel": lambda: ((lambda b=b: saved_model_graph(b, variables, names)) for b in broken_bytes(pb, count)),
        ".tflite": lambda: ((lambda b=b: tflite_graph(Model(b, "broken"))) for b in broken_bytes(tflite, count)),
    }
    rows = []
    for name, tries in readers.items():
        before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        outcomes = dict(read=0, refused=0, astray=0)
        for attempt in tries():
            try:
                graph = attempt()
                outcomes["read"] += 1
                with contextlib.suppress(MobileNetError, *BROKEN):
                    anatomy(graph)
            except (MobileNetError, *BROKEN):
                outcomes["refused"] += 1
            except Exception as e:
                outcomes["astray"] += 1
                print("ASTRAY", name, type(e).__name__, str(e)[:200])
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1000
        ms = (time.process_time() - start) / count * 1e3
        rows.append(dict(reader=name, mutations=count, **outcomes, memory_grown_mb=round(grown), ms_each=round(ms, 2)))
        print(rows[-1], flush=True)
        record(__file__, rows, "import_mutations")
    return sum(r["astray"] for r in rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keras", choices=FACTORS["keras"])
    parser.add_argument("--mutations", nargs="?", type=int, const=20_000)
    a = parser.parse_args()
    sys.exit(cases(a.keras) if a.keras else min(1, mutations(a.mutations)) if a.mutations else min(1, grid()))
