"""A real MicroPython core, built from the sources on PyPI with our module as a USER_C_MODULE, for QEMU's Cortex-M boards."""
import re
import struct
import subprocess
import sys
from pathlib import Path

from mobilenet_keras.core import microcontroller_folder
from mobilenet_keras.mcu.mpy import micropython_source
from mobilenet_keras.mcu.target import target

PORT = Path(__file__).with_name("micropython_port")
OURS = microcontroller_folder()
HEADERS = "assert alloca errno math setjmp stdio stdlib string unistd sys/types extmod/modplatform extmod/virtpin".split()
SPEAKS_OF_ARCH = "persistentcode", "modsys"
ALIEN = "arm|rv32|rv64|x64|x86|xtensa|xtensawin|aarch64|loong64|mips|powerpc|debug|setjmp"
NOT_COMPILED = re.compile(rf"(asm|emitn|emitinline|nlr)({ALIEN})\.c|mod(c?math|thread)\.c")
VERSION = '#define MICROPY_GIT_TAG "v1"\n#define MICROPY_GIT_HASH ""\n#define MICROPY_BUILD_DATE "2026-01-01"\n'


def ran(command, folder):
    done = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


class Core:
    """The objects of one instruction set; `link` makes a program for one of QEMU's boards."""

    def __init__(self, folder, cpu, float_abi="soft"):
        self.folder, self.source = folder, micropython_source()
        include = [f"-I{p}" for p in (folder, folder/"libc", PORT, self.source, OURS/"engine")]
        self.compiler = ["arm-none-eabi-gcc", f"-mcpu={cpu}", "-mthumb", f"-mfloat-abi={float_abi}", "-std=gnu99", "-O0",
                         "-ffreestanding", "-ffunction-sections", "-fdata-sections", "-w", "-DNDEBUG", *include]
        for name in HEADERS:
            (folder/f"libc/{name}.h").parent.mkdir(parents=True, exist_ok=True)
            (folder/f"libc/{name}.h").write_text('#include "libc.h"\n')
        for name in ("genhdr", "objects"):
            (folder/name).mkdir()
        ours = [PORT/"main.c", *sorted((OURS/"engine").rglob("*.c")), OURS/"micropython/mobilenet.c"]
        theirs = [p for p in sorted((self.source/"py").glob("*.c")) if not NOT_COMPILED.fullmatch(p.name)]
        theirs += [self.source/"shared"/p for p in ("runtime/gchelper_native.c", "libc/string0.c")]
        self.headers([*theirs, *ours])
        self.compile([*theirs, self.source/"shared/runtime/gchelper_thumb2.s"])
        self.compile(ours, "-Os")  # as firmwares do

    def compile(self, sources, *flags):
        ran([*self.compiler, *flags, "-c", *sources], self.folder/"objects")

    def headers(self, sources):
        """What MicroPython's own scripts make of its sources."""
        made, py = self.folder/"genhdr", self.source/"py"
        for name in ("qstrdefs.generated.h", "root_pointers.h", "moduledefs.h"):
            (made/name).write_text("")
        (made/"mpversion.h").write_text(VERSION)
        (self.folder/"all.c").write_text("".join(f'#include "{p}"\n' for p in sources))
        said = ran([*self.compiler, "-DNO_QSTR", "-E", "all.c"], self.folder).splitlines()
        (self.folder/"all.i").write_text("\n".join(line for line in said if re.match("# [0-9]", line) or "MP_QSTR_" in line or "MP_REGISTER" in line))
        for mode in ("qstr", "module", "root_pointer"):
            ran([sys.executable, py/"makeqstrdefs.py", "split", mode, "all.i", mode, "_"], self.folder)
            ran([sys.executable, py/"makeqstrdefs.py", "cat", mode, "_", mode, f"{mode}s"], self.folder)
        fixed = re.sub(r"(?m)^(Q\(.*\))", r'"\1"', (py/"qstrdefs.h").read_text())  # as strings they pass the preprocessor
        (self.folder/"fixed.c").write_text(fixed)
        fixed = re.sub(r'"(Q\(.*?\))"', r"\1", ran([*self.compiler, "-E", "fixed.c"], self.folder))
        (self.folder/"names").write_text(fixed + (self.folder/"qstrs").read_text())
        for script, given, out in (("makeqstrdata.py", "names", "qstrdefs.generated.h"), ("makemoduledefs.py", "modules", "moduledefs.h"),
                                   ("make_root_pointers.py", "root_pointers", "root_pointers.h")):
            (made/out).write_text(ran([sys.executable, py/script, given], self.folder))

    def link(self, board, arch=None):
        """The program for a board. `arch`: the number of the machine code that it loads, if not the compiler's own."""
        t, out = target(board), self.folder/f"{board}.elf"
        objects = {p.stem: p for p in sorted((self.folder/"objects").glob("*.o"))}
        script = (PORT/"port.ld").read_text().replace("CODE", f"{t.flash[0]:#x}").replace("RAM", f"{t.ram[0]:#x}")
        (self.folder/f"{board}.ld").write_text(script)
        (self.folder/"arch.h").write_text(f'#include <stddef.h>\n#include "py/mpconfig.h"\n#include "py/persistentcode.h"\n'
                                          f"#undef MPY_FEATURE_ARCH\n#define MPY_FEATURE_ARCH {arch}\n")
        for name in SPEAKS_OF_ARCH if arch else ():
            objects[name] = self.folder/f"{board}-{name}.o"
            ran([*self.compiler, "-include", "arch.h", "-c", self.source/f"py/{name}.c", "-o", objects[name]], self.folder)
        ran([*self.compiler, "-nostdlib", f"-Wl,-T,{board}.ld", "-Wl,--gc-sections", "-o", out, *objects.values(), "-lgcc"], self.folder)
        return out


def run(program, board, files, limit=120):
    """(exit status, output) of main.py, with `files` in the board's memory."""
    blobs, filled = program.with_suffix(".blobs"), [(name, data, bytes(-len(data) % 16)) for name, data in files.items()]
    blobs.write_bytes(b"".join(struct.pack("<24sII", name.encode(), len(data), 0) + data + pad for name, data, pad in filled) + bytes(32))
    command = ["qemu-system-arm", "-M", board, "-kernel", program, "-display", "none", "-serial", "null", "-monitor", "none",
               "-semihosting-config", "enable=on,target=native",
               "-device", f"loader,file={blobs},addr={target(board).ram[0] + 0x200000:#x},force-raw=on"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=limit, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout + done.stderr
