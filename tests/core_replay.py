"""The engine on emulated cores, whole: many compiled models in one run of QEMU (tests/kernels/replay.c)."""
import re
import shutil
import struct
import subprocess

import numpy as np
import pytest
from conftest import ROOT

from mobilenet_keras.engine.engine import engine_sources

BARE = ROOT / "tests/kernels"
# zig's name of a core: QEMU's machine, gcc's options, where its RAM lies. A Cortex-M33 has the kernels of an M4: test_simulate.py runs it.
CORES = {"cortex_m0plus": ("mps2-an385", "-mcpu=cortex-m0plus -mfloat-abi=soft", 0x21000000),
         "cortex_m3": ("mps2-an385", "-mcpu=cortex-m3 -mfloat-abi=soft", 0x21000000),
         "cortex_m4": ("mps2-an386", "-mcpu=cortex-m4 -mfloat-abi=soft", 0x21000000),
         "cortex_m7": ("mps2-an500", "-mcpu=cortex-m7 -mfloat-abi=soft", 0x60000000),
         "cortex_m55": ("mps3-an547", "-mcpu=cortex-m55 -mfloat-abi=softfp", 0x60000000)}


def replayed(core, cases, folder, optimize="-Os"):
    """(how many were as expected, what was said) of cases: (bytes of a .mbn, status of mbn_open, [input], [output])."""
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm"):
        if not shutil.which(tool):
            pytest.skip(f"needs {tool}")
    filled = lambda data: data + bytes(-len(data) % 4)  # noqa: E731
    with open(folder / "cases", "wb") as file:
        for data, status, images, outputs in cases:
            each = [some[0].size if some else 0 for some in (images, outputs)]
            file.write(struct.pack("<5I", len(data), status, len(images), *each) + filled(data))
            for some in (images, outputs):
                file.write(filled(b"".join(np.ascontiguousarray(x).tobytes() for x in some)))
    machine, options, ram = CORES[core]
    sources = [BARE / "replay.c", BARE / "bare.c", *(p for p in engine_sources() if p.suffix == ".c")]
    command = ["arm-none-eabi-gcc", "-mthumb", *options.split(), optimize, "-std=gnu99", "-ffreestanding", "-Wall", "-Wextra", "-Werror"]
    code = f"-Wl,--defsym=RAM={ram},--defsym=RAM_BYTES={0x200000}"
    link = ['-DCASES_FILE="cases"', "-nostdlib", f"-Wl,-T,{BARE / 'bare.ld'}", code, "-lgcc", "-o", folder / "replay.elf"]
    subprocess.run([*command, *sources, *link], check=True)
    done = subprocess.run(["qemu-system-arm", "-M", machine, "-display", "none", "-serial", "none", "-monitor", "none", "-semihosting-config",
                           "enable=on,target=native", "-kernel", "replay.elf"], capture_output=True, text=True, timeout=600, cwd=folder)
    said = done.stdout + done.stderr
    found = re.search(r"(\d+) good (\d+) bad\s+(passed|FAILED)", said)
    assert found, said
    return int(found[1]), said
