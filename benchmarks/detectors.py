"""RAM of SSDLite on MobileNetV2 (paper, section 6.2): the streaming engine beside TensorFlow Lite Micro, and whether all outputs are the same.

    python benchmarks/detectors.py              # prints a table, writes detectors.csv

The networks have arbitrary weights, since arenas depend on shapes alone: heads with 6 anchors on the expansion at stride 16, at stride 32 and
on two or four smaller maps, each with boxes and classes as outputs of their own. Ours is everything that the engine writes but the C stack.
TFLM's arena is what its interpreter reports on this 64-bit host. "Minimum" is the most activations that live at once in any interpreter that
runs layer by layer. STMicroelectronics' model zoo states 4,484 KB for its SSDLite V2 1.0 of 300x300 pixels.
"""
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from engine_models import DETECTORS, Judge, flat, some_images, ssdlite  # noqa: E402
from record import record  # noqa: E402

from mobilenet_keras.core import text_table  # noqa: E402
from mobilenet_keras.engine.engine import Engine  # noqa: E402
from mobilenet_keras.engine.mbn import compile_model  # noqa: E402
from mobilenet_keras.tflite.profile import profile  # noqa: E402

IMAGES = 6


def measure(alpha, size, classes, extra, boxes, _):
    model = ssdlite(alpha, size, classes, 6, extra)
    ways = {kind: compile_model(model, kind) for kind in ("streamed", "held")}
    engine, judge = Engine(ways["streamed"]), Judge(model)
    found = profile(model)
    differ = sum(int((flat(engine.run(image)) != judge(image)).sum()) for image in some_images((size, size, 3), IMAGES))
    return dict(network=model.name, classes=classes, outputs=len(model.outputs), boxes=boxes, mmacs=round(ways["streamed"].macs / 1e6, 2),
                smallest=compile_model(model, slack=0).arena, streamed=ways["streamed"].arena, held=ways["held"].arena,
                minimum_layer_by_layer=found.ram_minimum, tflm_arena_64_bit=found.arena.total,
                images=IMAGES, bytes_that_differ_from_tflm=differ)


if __name__ == "__main__":
    rows = [measure(*detector) for detector in DETECTORS]
    print(text_table(list(rows[0]), [list(row.values()) for row in rows]))
    print(f"Written: {record(__file__, rows)}")
