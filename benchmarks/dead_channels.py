"""What an inference takes with and without the channels that are dead for every photo: MLPerf Tiny's vww_96_int8, in each layout of weights.

Method: firmware as `build` makes it, with --keep-dead and without, on an emulated board that counts instructions; its answer has to be that
of NumPy's integers for the network as it came. `late` is the part behind step 16, where most channels are dead, compiled as a network
of its own whose input is held. Emulated; untested on hardware. Writes dead_channels.csv: a row for each layout, board and choice.

A few minutes: python benchmarks/dead_channels.py [vww_96_int8.tflite]
"""
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]
from record import record  # noqa: E402

from mobilenet_keras.core import text_table  # noqa: E402
from mobilenet_keras.engine.costs import instructions  # noqa: E402
from mobilenet_keras.engine.layouts import LAYOUTS  # noqa: E402
from mobilenet_keras.engine.mbn import compile_model  # noqa: E402
from mobilenet_keras.engine.planner import plan  # noqa: E402
from mobilenet_keras.mcu.firmware import build  # noqa: E402
from mobilenet_keras.mcu.simulate import run_firmware  # noqa: E402

MODEL = ROOT.parent / "shared/models/mlperf_tiny/vww_96_int8.tflite"
BOARDS = ("portable", "pico"), ("v6m", "pico"), ("portable", "mps2-an386"), ("dsp", "mps2-an386"), ("mve", "mps3-an547")
LATE = 16


def late(compiled, core):
    """(arena, predicted instructions) of the steps from `LATE` on."""
    steps, packed = compiled.steps[LATE:], compiled.packed[LATE:]
    needs = [LAYOUTS[compiled.layout].scratch(s) if p else 0 for s, p in zip(steps, packed)]
    found = plan(steps, "held", needs=needs)
    return found.arena, instructions(found.stages, packed, compiled.layout, core)


def row(path, layout, board, keep):
    compiled = compile_model(path, layout=layout, keep_dead=keep)
    firmware = build(compiled, board)
    seen = run_firmware(firmware, None)
    assert seen.as_built
    core, held = firmware.target.core, compile_model(path, "held", layout=layout, keep_dead=keep)
    arena, count = late(compiled, core)
    return dict(model=compiled.name, layout=layout, board=board, core=core, dead_channels="kept" if keep else "removed", removed=compiled.dead,
                macs=compiled.macs, instructions=seen.instructions, arena=compiled.arena, held_arena=held.arena,
                file_bytes=len(compiled.data), late_instructions=count, late_arena=arena)


def main(path):
    rows = []
    for layout, board in BOARDS:
        for keep in (True, False):
            rows.append(row(path, layout, board, keep))
            print(rows[-1], flush=True)
    print(text_table(list(rows[0]), [r.values() for r in rows]))
    print(f"Written to {record(__file__, rows).name}. Emulated; untested on hardware.")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else MODEL)
