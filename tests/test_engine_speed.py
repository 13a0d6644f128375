"""The engine on emulated cores: exact instruction counts, the C stack, and the same bytes."""
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from engine_models import network, some_images
from helpers import sample

from mobilenet_keras.engine.engine import Engine, engine_sources
from mobilenet_keras.engine.mbn import compile_model

pytestmark = pytest.mark.skipif(not shutil.which("qemu-system-arm"), reason="needs qemu-system-arm")
HERE = ROOT / "tests/engine_board"
CORES = {"cortex_m0plus": "mps2-an385", "cortex_m4": "mps2-an386"}  # core -> QEMU's machine; an M3 runs M0+ code


def array(name, data):
    return f"const unsigned char {name}[] __attribute__((aligned(8))) = {{{','.join(map(str, data))}}};\n"


def build(compiled, image, core, folder, optimize="-O3"):
    """An ELF file of the engine, a model and an image."""
    words = compiled.arena // 4
    (folder / "data.c").write_text(array("model", compiled.data) + array("image", image.tobytes()) +
                                   f"const unsigned model_bytes = {len(compiled.data)}, arena_bytes = {words * 4};\nunsigned arena[{words}];\n")
    zig = [sys.executable, "-m", "ziglang", "cc", "-target", "thumb-freestanding-eabi", f"-mcpu={core}", "-std=gnu99", "-ffreestanding"]
    env = os.environ | {"ZIG_GLOBAL_CACHE_DIR": str(folder / "zig"), "ZIG_LOCAL_CACHE_DIR": str(folder / "zig")}
    objects = []
    for source in [*(p for p in engine_sources() if p.suffix == ".c"), HERE / "app.c", folder / "data.c"]:
        renamed = ["-Dmbn_kernels=counted_kernels"] if source.name == "table.c" else []
        objects.append(folder / f"{source.stem}.o")
        subprocess.run([*zig, optimize, *renamed, "-c", source, "-o", objects[-1]], check=True, env=env)
    elf = folder / "app.elf"
    subprocess.run([*zig, "-nostartfiles", f"-Wl,-T,{HERE / 'mps2.ld'}", *objects, "-o", elf], check=True, env=env)
    return elf


def emulate(elf, core):
    """(status, instructions, instructions inside kernels, bytes of stack, int8 output)."""
    done = subprocess.run(["qemu-system-arm", "-M", CORES[core], "-display", "none", "-serial", "none", "-monitor", "none", "-semihosting-config",
                           "enable=on,target=native", "-icount", "shift=6,sleep=off", "-kernel", elf], capture_output=True, text=True, timeout=300)
    values = [int(v) for v in (done.stdout + done.stderr).split()]
    return *values[:4], np.array(values[4:], np.uint8).view(np.int8)


FLOORS = {("V2", .35): {"cortex_m0plus": 160e6, "cortex_m4": 90e6}, ("V1", .25): {"cortex_m0plus": 87.2e6, "cortex_m4": 99.6e6}}


@pytest.mark.parametrize("version, alpha, core", sample([(*net, core) for net in FLOORS for core in CORES],
                                                        kept=[]))
def test_instructions_and_stack(version, alpha, core, tmp_path, capsys):
    """At most 5 % outside the kernels; V1's bounds are TFLM's with CMSIS-NN (M0+) and with its reference kernels (M4)."""
    pytest.importorskip("ziglang")
    compiled, image = compile_model(network(version, alpha, 96)), some_images((96, 96, 3), 2)[0]
    status, instructions, inside, stack, output = emulate(build(compiled, image, core, tmp_path), core)
    with capsys.disabled():
        print(f"\n{version} {alpha} 96x96x3, {core}: {instructions / 1e6:.1f} M instructions, {instructions / compiled.macs:.1f} per multiply-add, "
              f"{1 - inside / instructions:.1%} outside kernels, {stack} bytes of stack")
    assert status == 0 and (output == Engine(compiled).run(image)).all()
    assert instructions <= FLOORS[version, alpha][core]
    assert instructions - inside <= .05 * instructions
    assert stack <= 1536
