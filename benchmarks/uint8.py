"""Coral's classifiers, uint8 files of TensorFlow 1, on the engine as they are: bytes against LiteRT's reference kernels on Coral's photos,
memory, and instructions by layout, predicted.

    python benchmarks/uint8.py  # writes uint8.csv
"""
import csv
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from record import record  # noqa: E402

from mobilenet_keras.core import text_table  # noqa: E402
from mobilenet_keras.engine.engine import Engine  # noqa: E402
from mobilenet_keras.engine.layouts import LAYOUTS  # noqa: E402
from mobilenet_keras.engine.mbn import compile_model  # noqa: E402
from mobilenet_keras.tflite.inputs import ModelInput  # noqa: E402
from mobilenet_keras.tflite.interpreters import load  # noqa: E402
from mobilenet_keras.tflite.model import Model  # noqa: E402

SHARED = ROOT.parent / "shared"
NAMES = "mobilenet_v1_0.25_128_quant", "mobilenet_v1_0.5_160_quant", "mobilenet_v2_1.0_224_quant"
CORES = {"portable": "cortex_m4", "v6m": "cortex_m0plus", "dsp": "cortex_m4", "mve": "cortex_m55"}


def published():
    """{photo: the class that another run of V2 gave the squashed photo, of 1,000: the file has one more, the background, before them}."""
    with open(SHARED / "data/coral_photos/predictions_mobilenet_v2_quant.csv", encoding="utf-8", newline="") as file:
        return {row["file"]: int(row["squash_index"]) for row in csv.DictReader(file)}


def measured(name):
    """A row for each layout."""
    model, photos = Model.open(SHARED / f"models/coral/{name}.tflite").described(resize="stretch:1"), published()
    given, judge = ModelInput.of(model), load(model, "litert-reference")
    images = {file: given.prepare(SHARED / "data/coral_photos/images" / file).values[0] for file in photos}
    wanted = {file: judge.run(image[None])[0].ravel() for file, image in images.items()}
    for layout, core in CORES.items():
        compiled = compile_model(model, layout=layout)
        engine = Engine(compiled)
        found = {file: engine.run((image ^ 128).view(np.int8)).view(np.uint8) ^ 128 for file, image in images.items()}
        yield {"model": name, "layout": layout, "arena_bytes": compiled.arena, "file_bytes": len(compiled.data), "core": core,
               "instructions": compiled.instructions(core), "packed_steps": sum(compiled.packed),
               "steps_with_weights": sum(s.weights is not None for s in compiled.steps),
               "photos": len(photos), "equal_to_litert": sum((found[file] == wanted[file]).all() for file in photos),
               "top1_as_published": sum(int(found[file].argmax()) == 1 + photos[file] for file in photos) if "v2" in name else ""}


if __name__ == "__main__":
    assert set(CORES) == set(LAYOUTS)
    rows = [row for name in NAMES for row in measured(name)]
    print(text_table(list(rows[0]), [list(row.values()) for row in rows]))
    print(f"Written to {record(__file__, rows).name}.")
