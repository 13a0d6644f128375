"""How many cycles the kernels' inner loops take on a Cortex-M7 and a Cortex-M55: estimated, untested on hardware.

Method: the loops of the functions in assembly, as gcc 12.2 assembles them for the core, run 100 times through LLVM's machine code
analyser (Debian's llvm-mca-16) with that core's schedule. Memory answers at once, and neither a taken branch nor moving a pointer
behind a load of one word costs anything (the analyser does not know that form). So these are bounds of the loops, no measurements of
a board. Products an instruction and a cycle follow from what a turn of the loop makes. Writes cycles.csv: a row for each loop.

    python benchmarks/cycles.py    # needs arm-none-eabi-gcc and Debian's llvm-16
"""
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from record import record  # noqa: E402

from mobilenet_keras.core import microcontroller_folder, text_table  # noqa: E402
from mobilenet_keras.mcu.toolchain import gcc_flags  # noqa: E402

CORES = {"cortex_m7": ("dsp.c", ["arm-none-eabi-objdump"], ["-mtriple=thumbv7em-none-eabi", "-mcpu=cortex-m7"]),
         "cortex_m55": ("mve.c", ["llvm-objdump-16", "--triple=thumbv8.1m.main-none-eabi", "--mattr=+mve,+lob,+dsp"],
                        ["-mtriple=thumbv8.1m.main-none-eabi", "-mcpu=cortex-m55", "-mattr=+mve,+lob"])}
BACK = re.compile(r"^(b|bne|bne\.n|bne\.w|b\.n|letp|le)$")
PRODUCTS = {  # function: of one turn of its innermost loop
    "mbn_dsp_two_rectified": 64, "mbn_dsp_two_signed": 64, "mbn_dsp_one_rectified": 32, "mbn_dsp_one_signed": 32, "mbn_dsp_3x3_inside": 36,
    "mbn_dsp_3x3_edge": 36, "mbn_mve_short_rectified": 256, "mbn_mve_two_rectified": 64, "mbn_mve_three_rectified": 96,
    "mbn_mve_middle_rectified": 256, "mbn_mve_one_rectified": 64, "mbn_mve_blocks": 144}


def functions(source, core, folder, disassembler):
    """{name: [(address, mnemonic, operands)]} of a kernel file."""
    made = folder / "kernels.o"
    flags = [*gcc_flags(core), "-O2", "-std=c99", "-ffreestanding"]
    subprocess.run(["arm-none-eabi-gcc", *flags, "-c", microcontroller_folder() / "engine/kernels" / source, "-o", made], check=True)
    text = subprocess.run([*disassembler, "-d", "--no-show-raw-insn", made], capture_output=True, text=True, check=True).stdout
    found, name = {}, None
    for line in text.splitlines():
        if head := re.match(r"[0-9a-f]+ <(\w+)>:", line):
            name = head[1]
            found[name] = []
        elif name and (part := re.match(r"\s*([0-9a-f]+):\s+(\S+)\s*(.*)", line)):
            assert part[2] != "<unknown>" or name not in PRODUCTS, f"{name}: an instruction that the disassembler does not know"
            found[name].append((int(part[1], 16), part[2], part[3].split(";")[0].split("@")[0].strip()))
    return found


def inner_loop(code):
    """The instructions of the innermost loop that is largest, without its branch; None: there is none."""
    loops = []
    for i, (_, what, where) in enumerate(code):
        if BACK.match(what) and (to := re.search(r"([0-9a-f]+) <", where)):
            first = next((k for k, (address, *_) in enumerate(code) if address == int(to[1], 16)), None)
            if first is not None and first < i:
                loops.append((first, i))
    inner = [a for a in loops if not any(b != a and a[0] <= b[0] and b[1] <= a[1] for b in loops)]
    return max((code[a:b] for a, b in inner), key=len, default=None)


def analysed(loop, flags):
    """(instructions, cycles) of a turn."""
    plain = lambda what, where: re.sub(r"\], #4$", "]", where) if what in ("ldr", "ldr.w", "str", "str.w") else where  # noqa: E731
    lines = [f"{what} {plain(what, where)}" for _, what, where in loop if not what.startswith(("b", "vpst", "it", "vctp", "dls", "wls"))]
    done = subprocess.run(["llvm-mca-16", *flags, "-iterations=100"], input="\n".join(lines), capture_output=True, text=True)
    numbers = [re.search(rf"{what}:\s+(\d+)", done.stdout) for what in ("Instructions", "Total Cycles")]
    assert all(numbers), done.stderr
    return int(numbers[0][1]) / 100, int(numbers[1][1]) / 100


def main():
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for core, (source, disassembler, flags) in CORES.items():
            for name, code in functions(source, core, Path(folder), disassembler).items():
                if name in PRODUCTS and (loop := inner_loop(code)):
                    n, cycles = analysed(loop, flags)
                    made = PRODUCTS[name]
                    rows.append(dict(core=core, function=name, instructions=round(n, 1), cycles=round(cycles, 1),
                                     cycles_an_instruction=f"{cycles / n:.2f}", products=made,
                                     products_an_instruction=f"{made / n:.2f}", products_a_cycle=f"{made / cycles:.2f}"))
    print(text_table(list(rows[0]), [r.values() for r in rows]))
    print(f"Written to {record(__file__, rows).name}. Estimated by llvm-mca; untested on hardware.")


if __name__ == "__main__":
    main()
