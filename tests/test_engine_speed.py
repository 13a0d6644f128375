"""How many instructions an inference takes in firmware as `build` makes it: exact counts of emulated cores, held to bounds that are a
third to a half of what TensorFlow Lite Micro needs with CMSIS-NN (benchmarks/boards.csv)."""
import shutil

import pytest
from conftest import shared
from engine_models import VWW, network
from helpers import sample

from mobilenet_keras.engine.layouts import layout_for
from mobilenet_keras.engine.mbn import compile_model
from mobilenet_keras.mcu.firmware import build
from mobilenet_keras.mcu.simulate import run_firmware
from mobilenet_keras.mcu.target import target
from mobilenet_keras.tflite.model import Model

pytestmark = pytest.mark.skipif(not shutil.which("qemu-system-arm"), reason="needs qemu-system-arm")

NETS = {"V1 .25 96": lambda: Model.open(shared(f"models/{VWW}.tflite")), "V2 .35 96": lambda: network("V2", .35, 96, 2),
        "V2 .35 160": lambda: network("V2", .35, 160, 2), "V2 .35 96, 1000 classes": lambda: network("V2", .35, 96, 1000)}
BOARDS = ("mps3-an547", "mps2-an386", "mps2-an500", "pico")
BOUNDS = {  # network: bytes of arena, million instructions on a Cortex-M55, M4, M7, M0+
    "V1 .25 96": (12_500, 3.7, 11.2, 11.4, 32), "V2 .35 96": (13_500, 5.5, 18.2, 18.4, 55), "V2 .35 160": (None, 15.5, 51, 51, 153),
    "V2 .35 96, 1000 classes": (None, 5.8, 19.8, 20)}  # not on a Pico, where the checksum of its 1.8 MB takes longer than the inference
FASTEST = {"V1 .25 96": (15_500, 2.6, 10.5, 10.6, 29), "V2 .35 96": (18_500, 4.5, 17.6, 17.7, 52)}
CASES = [(name, board, plan) for name in NETS for board, _ in zip(BOARDS, BOUNDS[name][1:])
         for plan in ("default", "fastest") if plan == "default" or name in FASTEST]


@pytest.mark.parametrize("name, board, plan", sample(CASES, kept=[("V1 .25 96", board, "default") for board in ("mps3-an547", "mps2-an386")]))
def test_instructions_arena_and_stack(name, board, plan, capsys):
    arena, *most = (BOUNDS if plan == "default" else FASTEST)[name]
    model = NETS[name]()
    if plan == "fastest":
        model = compile_model(model, ram=arena, layout=layout_for(target(board).core).name, keep_dead=True)
    found = run_firmware(firmware := build(model, board, keep_dead=True), None)  # bounds are of shapes
    with capsys.disabled():
        print(f"\n{name}, {board}, {plan}: {found.instructions / 1e6:.2f} million, arena {found.arena_bytes:,}, stack {found.stack_bytes}")
    assert found.as_built and firmware.layout != "portable"
    assert found.instructions <= most[BOARDS.index(board)] * 1e6
    assert found.arena_bytes <= (arena or 1 << 20) and found.stack_bytes <= 1200
