"""What weights of 4 bits take and give: sizes of files, RAM, instructions and answers, beside those of int8.

Networks are MobileNetV2 0.35 at 96x96 with 1,000 classes and random weights, and MLPerf Tiny's visual wake words, a MobileNetV1 0.25 at
96x96 that is trained. `to_int4` rewrites their usual layers: all but the first and the depthwise ones. Instructions are counted in firmware
as `build` compiles it, on emulated cores; on a Pico the checksum of 1.8 MB takes longer than the inference, so that there the network has
10 classes. Answers are those for 170 photos (`shared/data/trash6`): how many keep their first class, and by how many of 256 steps scores
change on average. Random weights are said to give no answer.

    python benchmarks/int4.py    # a quarter of an hour; writes int4.csv
"""
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "tests")]
from engine_models import network  # noqa: E402
from record import record  # noqa: E402

from mobilenet_keras.core import text_table  # noqa: E402
from mobilenet_keras.engine.engine import Engine  # noqa: E402
from mobilenet_keras.engine.mbn import compile_model  # noqa: E402
from mobilenet_keras.mcu.firmware import build  # noqa: E402
from mobilenet_keras.mcu.simulate import run_firmware  # noqa: E402
from mobilenet_keras.preprocessing import Preprocessing  # noqa: E402
from mobilenet_keras.tflite.int4 import to_int4  # noqa: E402
from mobilenet_keras.tflite.model import Model  # noqa: E402

SHARED, BOARDS = ROOT.parent / "shared", {"M4": "mps2-an386", "M55": "mps3-an547", "M0+": "pico"}
NETWORKS = {"V2 0.35 96, 1000 classes": lambda core: network("V2", .35, 96, 10 if core == "M0+" else 1000),
            "V1 0.25 96, visual wake words": lambda core: Model.open(SHARED / "models/mlperf_tiny/vww_96_int8.tflite")}


def photos(n=170):
    rule = Preprocessing.preset("keras", 96, 3)
    every = [p for p in sorted((SHARED / "data/trash6/test").rglob("*")) if p.suffix.lower() in (".jpg", ".jpeg", ".png")]
    return np.stack([(rule.pixels(every[i]).astype(np.int16) - 128).astype(np.int8) for i in np.linspace(0, len(every) - 1, n).astype(int)])


def answers(old, new):
    """(share of photos whose first class stays, mean difference of scores in steps)."""
    images = photos()
    before, after = (Engine(m).run(images).astype(int) for m in (old, new))
    return f"{(before.argmax(1) == after.argmax(1)).mean():.3f}", f"{np.abs(before - after).mean():.1f}"


def main():
    rows = []
    for name, make in NETWORKS.items():
        same, off = answers(make("M4"), to_int4(make("M4"))[0]) if name.startswith("V1") else ("", "")
        for core, board in BOARDS.items():
            old = make(core)
            for bits, model in ((8, old), (4, to_int4(old)[0])):
                firmware = build(model, board, keep_dead=True)
                found, compiled = run_firmware(firmware, None, seconds=1800), compile_model(model, layout=firmware.layout, keep_dead=True)
                assert found.as_built
                rows.append(dict(network=name if core != "M0+" else name.replace("1000", "10"), core=core, layout=firmware.layout, bits=bits,
                                 tflite_bytes=len(model.strip().data), mbn_bytes=len(compiled.data), arena_bytes=found.arena_bytes,
                                 stack_bytes=found.stack_bytes, instructions=found.instructions,
                                 same_first=same if bits == 4 else "", mean_difference=off if bits == 4 else ""))
                print(rows[-1], flush=True)
    print(text_table(rows[0], [row.values() for row in rows]))
    print(f"Written to {record(__file__, rows).name}.")


if __name__ == "__main__":
    main()
