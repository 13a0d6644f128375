"""Every kernel of the engine's table alone, against the slow reference of tests/kernels: on this computer under sanitizers, and on
emulated cores. kernels/table.c says which kernels those are, so that one that is added there is tested here."""
import re
import shutil
import subprocess

import pytest
from conftest import ROOT

from mobilenet_keras.engine.engine import engine_sources
from mobilenet_keras.engine.layouts import LAYOUTS, layout_for

CHECK = ROOT / "tests/kernels"
KERNELS = [p for p in engine_sources() if p.parent.name == "kernels"]
WARNINGS = ["-Wall", "-Wextra", "-Werror"]
SANITIZED = ["-g", "-O1", "-DMBN_EVERY_LAYOUT", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
OPS = "conv depthwise max_pool average_pool add mean global_average softmax lookup arg_max mul".split()
# QEMU's machine, the compiler's options, where RAM lies, its bytes, and those of them for a case
CORES = {"cortex-m0": ("microbit", "-O2 -mfloat-abi=soft", 0x20000000, 0x4000, 14400),
         "cortex-m3": ("mps2-an385", "-O2 -mfloat-abi=soft", 0x20000000, 0x100000, 0x60000),
         "cortex-m4": ("mps2-an386", "-O2 -mfloat-abi=soft", 0x20000000, 0x100000, 0x60000),
         "cortex-m55": ("mps3-an547", "-O3 -mfloat-abi=softfp", 0x31000000, 0x100000, 0x60000)}


def compiled(folder, kernels, *flags):
    if not shutil.which("gcc"):
        pytest.skip("needs gcc")
    subprocess.run(["gcc", "-std=c99", "-Wpedantic", *WARNINGS, *flags, CHECK / "check.c", *kernels, "-o", folder / "check"], check=True)
    return folder / "check"


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("kernels"), [p for p in KERNELS if p.suffix == ".c"], *SANITIZED)


def run(*command):
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=900)


def all_passed(said, cases, layouts, left_out=.01):
    """Each op that has a kernel passed on all but a few cases, in each layout; a good part of the convolutions had packed weights."""
    lines = re.findall(r"layout (\d+) (\w+) (\d+) passed, too large (\d+), packed (\d+)", said)
    found = [(int(layout), op, *map(int, numbers)) for layout, op, *numbers in lines]
    not_sums = [op for op in OPS if op not in ("mean", "global_average")]  # sums are the same in every layout
    assert [(layout, op) for layout, op, *_ in found] == [(0, op) for op in OPS] + [(n, op) for n in layouts for op in not_sums], said
    for layout, op, passed, large, packed in found:
        assert passed + large == cases and large <= left_out * cases, said
        assert packed > .3 * cases if layout and op in ("conv", "depthwise") else not packed, said


@pytest.mark.parametrize("cases, seed", [(1000, 1), pytest.param(20_000, 2, marks=pytest.mark.slow)])
def test_kernels_equal_the_reference(sanitized, cases, seed):
    done = run(sanitized, cases, seed)
    assert done.returncode == 0, done.stdout + done.stderr
    all_passed(done.stdout, cases, [layout.number for layout in LAYOUTS.values() if layout.number])


@pytest.mark.parametrize("cases, seed", [(60, 3), pytest.param(3000, 4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("core", CORES)
def test_kernels_equal_the_reference_on_a_core(core, cases, seed, tmp_path):
    """Compiled for its instruction set. An M0 faults where a word is not aligned, and has room for few wide cases."""
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm"):
        if not shutil.which(tool):
            pytest.skip(f"needs {tool}")
    machine, options, ram, ram_bytes, block = CORES[core]
    elf = tmp_path / "check.elf"
    flags = [f"-mcpu={core}", "-mthumb", "-std=gnu99", "-ffreestanding", *options.split(), *WARNINGS]
    flags += [f"-DCASES={cases}", f"-DSEED={seed}", f"-DBLOCK={block}"]
    link = ["-nostdlib", f"-Wl,-T,{CHECK / 'bare.ld'}", f"-Wl,--defsym=RAM={ram},--defsym=RAM_BYTES={ram_bytes}", "-lgcc", "-o", elf]
    sources = [CHECK / "check.c", CHECK / "bare.c", *(p for p in KERNELS if p.suffix == ".c")]
    subprocess.run(["arm-none-eabi-gcc", *flags, *sources, *link], check=True)
    done = run("qemu-system-arm", "-M", machine, "-display", "none", "-serial", "none", "-monitor", "none",
               "-semihosting-config", "enable=on,target=native", "-kernel", elf)
    said = done.stdout + done.stderr
    assert said.rstrip().endswith("passed"), said
    layout = layout_for(core.replace("-", "_")).number
    all_passed(said, cases, [layout] if layout else [], .06 if core == "cortex-m0" else .01)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("defect, said", [("wrong", r"the first difference is at pixel \d+, channel \d+: wanted -?\d+, found -?\d+"),
                                          ("beyond", "something else than the output was written")])
def test_a_defect_is_found(sanitized, op, defect, said):
    """A wrong last byte, or one written behind the output, in some calls of one op."""
    done = run(sanitized, 100, 1, op, defect)
    assert done.returncode == 1 and re.search(rf"FAILED: layout 0, {op}, kernel .*{said}\ncase \d+\n$", done.stdout), done.stdout


MISTAKES = {  # in the engine's own text, as a programmer makes them
    "halves up": ("fixedpoint.h", "(mask >> 1) + (x < 0)", "(mask >> 1)"),
    "no saturation above": ("fixedpoint.h", "x > s->high - s->zero_out ? s->high : ", ""),
    "a shift to the left after the product": ("fixedpoint.h", "high_mul((int32_t)((uint32_t)x << shift), multiplier)",
                                              "high_mul(x, multiplier) << shift"),
    "one tap too few on the left": ("portable.c", "at < 0 ? -at : 0", "at < 0 ? -at + (at < -1) : 0"),
    "taps outside count as 0": ("portable.c", "sum + s->zero_in * outside", "sum"),
    "the last pixels of four": ("portable.c", "for (; p + 4 <= c->n &&", "for (; p + 3 <= c->n &&"),
    "a multiplier that isn't": ("portable.c", "if (--left == 0) i++, left = times;", "if (--left == 0) i++, left = 1;"),
    "a mean that rounds down": ("portable.c", "(sum > 0 ? count / 2 : -(count / 2))", "count / 2"),
    "padding that always counts": ("portable.c", "count = pads ? taps : inside", "count = taps"),
    "a Newton step too few": ("portable.c", "i < 3", "i < 2"),
    "a zero point of weights without the padding": ("portable.c", "s->zero_in * (s->kh * s->kw", "0 * (s->kh * s->kw"),
    "a zero point of weights without a tap": ("portable.c", "t = 0; t < inside; t++) sum -= ", "t = 1; t < inside; t++) sum -= "),
    "unsigned bytes that stay so": ("portable.c", "mean - up", "mean"),
    "an unsigned table": ("portable.c", "+ 128;\n", "+ 127;\n")}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(mistake, tmp_path):
    name, right, wrong = MISTAKES[mistake]
    engine = shutil.copytree(ROOT / "microcontroller/engine", tmp_path / "engine")
    path = engine / "kernels" / name
    text = path.read_text(encoding="utf-8")
    assert right in text, "the engine was rewritten: make this mistake again"
    path.write_text(text.replace(right, wrong), encoding="utf-8")
    check = compiled(tmp_path, sorted(engine.glob("kernels/*.c")), "-O1")
    done = run(check, 1000, 1)
    assert done.returncode and (done.returncode < 0 or "FAILED" in done.stdout), done.stdout


OVERRIDE = """#include "{engine}/kernels/kernels.h"
void mbn_isa_lookup(const mbn_call *call);
#define MBN_OVERRIDES [MBN_LOOKUP] = mbn_isa_lookup,
"""
WRONG = """void mbn_isa_lookup(const mbn_call *c) {
  mbn_portable_lookup(c);
  c->out[0] ^= 1;
}
"""


def test_an_instruction_set_overrides_one_op(tmp_path):
    """As kernels/table.c says; the kernel of another file takes its place, and is tested as all are."""
    for name, text in {"isa.h": OVERRIDE.format(engine=ROOT / "microcontroller/engine"), "isa.c": WRONG}.items():
        (tmp_path / name).write_text(text)
    check = compiled(tmp_path, [*(p for p in KERNELS if p.suffix == ".c"), tmp_path / "isa.c"], "-O1", "-include", tmp_path / "isa.h")
    done = run(check, 5, 1)
    assert re.findall(r"layout 0 (\w+) 5 passed", done.stdout) == OPS[:OPS.index("lookup")] and "FAILED: layout 0, lookup" in done.stdout
