"""A real MicroPython core, built from the sources on PyPI with our module as a USER_C_MODULE, for QEMU's Cortex-M boards."""
import re
import struct
import subprocess
import sys
from pathlib import Path

from mobilenet_keras.core import microcontroller_folder
from mobilenet_keras.firmware import target
from mobilenet_keras.mpy import micropython_source

PORT = Path(__file__).with_name("micropython_port")
OURS = microcontroller_folder()
SPEAKS_OF_ARCH = "persistentcode.c", "modsys.c"
OTHERS = re.compile(r"(asm|emitn|emitinline|nlr).*(arm|rv32|rv64|x64|x86|xtensa|xtensawin|aarch64|loong64|mips|powerpc|debug|setjmp)\.c|mod(c?math|thread)\.c")
MATH = "".join(f"float {f}({a});\n" for f, a in {
    "powf": "float, float", "fmodf": "float, float", "floorf": "float", "ceilf": "float", "truncf": "float", "nearbyintf": "float", "nanf": "const char *"}.items())
HEADERS = {  # of a C library; none is linked
    "assert.h": "#define assert(e) ((void)0)\n", "stdio.h": "", "errno.h": "", "stdlib.h": "#include <stddef.h>\nvoid abort(void);\n", "alloca.h": "#define alloca __builtin_alloca\n",
    "string.h": "#include <stddef.h>\nvoid *memcpy(void *, const void *, size_t); void *memmove(void *, const void *, size_t); void *memset(void *, int, size_t);\n"
                "int memcmp(const void *, const void *, size_t); size_t strlen(const char *); int strcmp(const char *, const char *); int strncmp(const char *, const char *, size_t);\n"
                "char *strchr(const char *, int); char *strcpy(char *, const char *); void *memchr(const void *, int, size_t);\n",
    "math.h": MATH + "#define isnan(x) __builtin_isnan(x)\n#define isinf(x) __builtin_isinf(x)\n#define isfinite(x) __builtin_isfinite(x)\n#define signbit(x) __builtin_signbit(x)\n"
              "#define fabsf __builtin_fabsf\n#define copysignf __builtin_copysignf\n#define INFINITY __builtin_inff()\n#define NAN __builtin_nanf(\"\")\n",
    "sys/types.h": "typedef int ssize_t;\n", "unistd.h": "#include <sys/types.h>\n", "extmod/virtpin.h": "", "extmod/modplatform.h": "#define MICROPY_PLATFORM_COMPILER \"\"\n", "setjmp.h": "typedef int jmp_buf[32];\n",
}


def ran(command, folder, **options):
    done = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


class Core:
    """The objects of one instruction set; `link` makes a program for one of QEMU's boards."""

    def __init__(self, folder, cpu, float_abi="soft"):
        self.folder, self.source = folder, micropython_source()
        self.compiler = ["arm-none-eabi-gcc", f"-mcpu={cpu}", "-mthumb", f"-mfloat-abi={float_abi}"]
        for name, text in HEADERS.items():
            (folder/"libc"/name).parent.mkdir(parents=True, exist_ok=True)
            (folder/"libc"/name).write_text(text)
        for name in ("genhdr", "objects"):
            (folder/name).mkdir()
        self.flags = ["-std=gnu99", "-O0", "-ffreestanding", "-ffunction-sections", "-fdata-sections", "-w", "-DNDEBUG",
                      *(f"-I{p}" for p in (folder, folder/"libc", PORT, self.source, OURS/"engine"))]
        py = sorted(p for p in (self.source/"py").glob("*.c") if not OTHERS.fullmatch(p.name))
        shared = [self.source/"shared"/p for p in ("runtime/gchelper_native.c", "libc/string0.c")]
        self.sources = [*py, *shared, PORT/"main.c", *sorted((OURS/"engine").glob("*.c")), OURS/"micropython/mobilenet.c"]
        self.headers()
        ran([*self.compiler, *self.flags, "-c", *self.sources, self.source/"shared/runtime/gchelper_thumb2.s"], folder/"objects")

    def headers(self):
        """What MicroPython's own scripts make of its sources."""
        for name in ("qstrdefs.generated.h", "root_pointers.h", "moduledefs.h"):
            (self.folder/"genhdr"/name).write_text("")
        (self.folder/"genhdr/mpversion.h").write_text('#define MICROPY_GIT_TAG "v1.28"\n#define MICROPY_GIT_HASH ""\n#define MICROPY_BUILD_DATE "2026-01-01"\n')
        (self.folder/"all.c").write_text("".join(f'#include "{p}"\n' for p in self.sources))
        said = ran([*self.compiler, *self.flags, "-DNO_QSTR", "-E", "all.c"], self.folder)
        lines = [line for line in said.splitlines() if re.match(r"# \d+ ", line) or "MP_QSTR_" in line or "MP_REGISTER" in line]
        (self.folder/"all.i").write_text("\n".join(lines))
        py, python = self.source/"py", sys.executable
        for mode, out in (("qstr", "qstrdefs.collected.h"), ("module", "modules"), ("root_pointer", "roots")):
            ran([python, py/"makeqstrdefs.py", "split", mode, "all.i", mode, "_"], self.folder)
            ran([python, py/"makeqstrdefs.py", "cat", mode, "_", mode, out], self.folder)
        fixed = "\n".join(f'"{line}"' if re.match(r"^Q\(.*\)", line) else line for line in (py/"qstrdefs.h").read_text().splitlines())
        (self.folder/"fixed.c").write_text(fixed)
        made = ran([*self.compiler, *self.flags, "-E", "fixed.c"], self.folder)
        known = re.sub(r'"(Q\(.*?\))"', r"\1", made) + (self.folder/"qstrdefs.collected.h").read_text()
        (self.folder/"qstrdefs").write_text(known)
        for script, given, out in (("makeqstrdata.py", "qstrdefs", "qstrdefs.generated.h"), ("makemoduledefs.py", "modules", "moduledefs.h"), ("make_root_pointers.py", "roots", "root_pointers.h")):
            (self.folder/"genhdr"/out).write_text(ran([python, py/script, given], self.folder))

    def link(self, board, arch=None):
        """The program for a board. `arch`: the number of the machine code that it loads, if not the compiler's own."""
        t, out, objects = target(board), self.folder/f"{board}.elf", {p.stem: p for p in sorted((self.folder/"objects").glob("*.o"))}
        script = (PORT/"port.ld").read_text().replace("text CODE", f"text {t.flash[0]:#x}").replace("bss RAM", f"bss {t.ram[0]:#x}").replace("= RAM", f"= {t.ram[0]:#x}")
        (self.folder/f"{board}.ld").write_text(script)
        (self.folder/"arch.h").write_text(f'#include <stddef.h>\n#include "py/mpconfig.h"\n#include "py/persistentcode.h"\n#undef MPY_FEATURE_ARCH\n#define MPY_FEATURE_ARCH {arch}\n')
        for name in SPEAKS_OF_ARCH if arch else ():
            objects[Path(name).stem] = self.folder/f"{board}-{name}.o"
            ran([*self.compiler, *self.flags, "-include", "arch.h", "-c", self.source/"py"/name, "-o", objects[Path(name).stem]], self.folder)
        ran([*self.compiler, "-nostdlib", f"-Wl,-T,{board}.ld", "-Wl,--gc-sections", "-o", out, *objects.values(), "-lgcc"], self.folder)
        return out


def run(program, board, files, limit=120):
    """(exit status, output) of main.py, with `files` in the board's memory."""
    image = b"".join(struct.pack("<24sII", name.encode(), len(data), 0) + data + bytes(-len(data) % 16) for name, data in files.items()) + bytes(32)
    blobs = program.with_suffix(".blobs")
    blobs.write_bytes(image)
    command = ["qemu-system-arm", "-M", board, "-kernel", program, "-display", "none", "-serial", "null", "-monitor", "none", "-semihosting-config", "enable=on,target=native",
               "-device", f"loader,file={blobs},addr={target(board).ram[0] + 0x200000:#x},force-raw=on"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=limit, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout + done.stderr
