"""Every published MobileNetV1 and V2 as an int8 file: its size, and its arena in TensorFlow Lite Micro.

    python benchmarks/published_models.py       # about ten minutes; writes benchmarks/published_models.csv

Sizes and arenas depend on the graph alone, so the weights are random, of a size that keeps activations alive. `list_models()` quotes these figures.
"""
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import numpy as np  # noqa: E402
from helpers import randomized  # noqa: E402
from record import record  # noqa: E402

from mobilenet_keras.networks.layers import keras
from mobilenet_keras.networks.models import MobileNetV1, MobileNetV2  # noqa: E402
from mobilenet_keras.networks.pretrained import list_models  # noqa: E402
from mobilenet_keras.tflite.model import Model  # noqa: E402
from mobilenet_keras.tflite.profile import profile  # noqa: E402
from mobilenet_keras.training.quantization import convert  # noqa: E402


def measure(row):
    """`row` of `list_models()` as a row of the table: bytes of the file, of the stripped one, RAM minimum, TFLM's arena."""
    keras.backend.clear_session()
    shape = (row["size"], row["size"], 3)
    net = randomized((MobileNetV1 if row["version"] == 1 else MobileNetV2)(row["alpha"], shape))
    photo = np.random.default_rng(0).uniform(-1, 1, (1, *shape)).astype(np.float32)
    found = profile(Model(convert(net, photo)))
    return {"name": row["name"], "int8_bytes": found.file_bytes, "stripped_bytes": found.stripped_bytes,
            "ram_minimum": found.ram_minimum, "tflm_arena": found.arena.total}


if __name__ == "__main__":
    rows = []
    for known in list_models():
        rows.append(measure(known))
        print(*rows[-1].values(), file=sys.stderr, flush=True)
    record(__file__, rows)
    print(f"{'network':26}{'int8 file':>12}{'stripped':>12}{'RAM minimum':>13}{'TFLM arena':>12}   bytes")
    for r in rows:
        print(f"{r['name']:26}{r['int8_bytes']:12,}{r['stripped_bytes']:12,}{r['ram_minimum']:13,}{r['tflm_arena'] or 0:12,}")
