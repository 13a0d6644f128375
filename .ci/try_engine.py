"""Whether the engine of the installed wheel runs here: `python .ci/try_engine.py`, with a Python that has the wheel and nothing of this tree.

A small network's bytes are held against the specification in NumPy's integers, which comes in the wheel too and needs no C.
"""
import platform
from pathlib import Path

import numpy as np

import mobilenet_keras
from mobilenet_keras.engine.engine import Engine, build_engine
from mobilenet_keras.engine.lowering import reference
from mobilenet_keras.tflite.builder import example

if __name__ == "__main__":
    library = build_engine()
    if library.parent != Path(mobilenet_keras.__file__).resolve().parent / "engine/lib":
        raise SystemExit(f"Wanted the wheel's own engine. Received: {library}")
    model = example()
    images = np.random.default_rng(0).integers(-128, 128, (16, 33, 31, 3)).astype(np.int8)
    for kind in ("streamed", "held"):
        wanted = np.stack([reference(model.compile(kind).steps, image)[-1].ravel() for image in images])
        if not np.array_equal(Engine(model, kind).run(images), wanted):
            raise SystemExit(f"{library.name} computes other bytes than the specification.")
    print(f"{library.name} on {platform.platform()}, {platform.machine()}: the specification's bytes")
