"""Beside Plumerai's public figure: MobileNetV2 0.30 at 80 x 80 with 1000 classes on a Cortex-M7 at 216 MHz (STM32F746NG).

Theirs, as they published in 2021: 77 ms, 80 KiB of RAM; their model file is not public, so ours has the published shapes and
other weights, which change neither RAM nor instructions by more than dead channels would. Ours: instructions exact, under QEMU
(mps2-an500); milliseconds estimated, by cycles.csv's cycle for an instruction of the inner loops and flash that answers at once. Untested
on hardware. Writes plumerai.csv.

    python benchmarks/plumerai.py
"""
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
from engine_models import network  # noqa: E402
from record import record  # noqa: E402

from mobilenet_keras.boards import CYCLES  # noqa: E402
from mobilenet_keras.core import text_table  # noqa: E402
from mobilenet_keras.engine.mbn import compile_model  # noqa: E402
from mobilenet_keras.mcu.firmware import build  # noqa: E402
from mobilenet_keras.mcu.simulate import run_firmware  # noqa: E402

MHZ = 216


def main():
    model = network("V2", .30, 80, 1000)
    rows = [dict(engine="Plumerai, as published", input="?", ram=80 * 1024, instructions="", ms=77, how="measured by them")]
    for kind in ("held", "streamed"):
        for plan, slack in (("default", None), ("fastest", 1e3)):
            compiled = compile_model(model, kind, slack, layout="dsp")
            n = run_firmware(build(compiled, "mps2-an500"), None).instructions
            ms = round(n * CYCLES["Cortex-M7"] / MHZ / 1000, 1)
            rows.append(dict(engine=f"this library, {plan}", input=kind, ram=compiled.arena, instructions=n, ms=ms, how="estimated"))
    print(text_table(list(rows[0]), [r.values() for r in rows]))
    print(f"Written to {record(__file__, rows).name}.")


if __name__ == "__main__":
    main()
