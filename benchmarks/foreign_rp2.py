"""Raspberry Pi's own SDK and example on our strict models of its chips: they boot, and what they say comes through.

    python benchmarks/foreign_rp2.py hello_uart.elf --chip rp2040 --rom rp2040js/demo/bootrom.ts   # one firmware
    python benchmarks/foreign_rp2.py --table FOLDER                                                 # all of `TABLE`; writes foreign_rp2.csv

How the firmware of `TABLE` was built from its vendor's sources is told beside each row. Nothing of it is part of this project.
"""
import argparse
import re
import struct
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from record import record
from unicorn.arm_const import UC_ARM_REG_PC

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.mcu.elf import Elf
from mobilenet_keras.mcu.emulators import Unicorn
from mobilenet_keras.mcu.target import targets

BOARDS = dict(rp2040="pico", rp2350="pico2")
COMMIT = "pico-sdk 2.2.0 a1438dff, pico-examples"

# ROMs: the RP2040's is Raspberry Pi's own. For the RP2350's a stub stands in, whose table of functions knows none (halfword 0x16 points to
# "movs r0, #0x29; bx lr", and there is "movs r0, #0; bx lr"). The firmware is what the SDK's own build makes of the example.
TABLE = [
    ("rp2040", "uart/hello_uart", "hello/rp2040/hello_uart.elf", "AB Hello, UART!"),
    ("rp2350", "uart/hello_uart", "hello/rp2350-arm-s/hello_uart.elf", "AB Hello, UART!"),
]


def rom(path):
    """A ROM as bytes: a binary file, or the words in rp2040js's TypeScript."""
    if not str(path).endswith(".ts"):
        return Path(path).read_bytes()
    words = re.findall(r"0x([0-9a-f]{1,8})\b", Path(path).read_text(), re.I)
    return b"".join(struct.pack("<I", int(w, 16)) for w in words)


NO_COPROCESSOR = 17  # unicorn's number of that exception


class Foreign(Unicorn):
    """A board with a ROM, stopped once it has said what it should. The RP2350's own coprocessors, which unicorn lacks, do nothing."""

    def __init__(self, firmware, image, until):
        self.image, self.until = image, until
        super().__init__(firmware)

    def _new_core(self):
        uc = super()._new_core()
        if self.image:
            uc.mem_map(0, -(-len(self.image) // 4096) * 4096)
            uc.mem_write(0, self.image)
        return uc

    def _exception(self, number):
        if number != NO_COPROCESSOR:
            return super()._exception(number)
        self.uc.reg_write(UC_ARM_REG_PC, self.uc.reg_read(UC_ARM_REG_PC) + 4 | 1)

    def _write(self, uc, offset, size, value, base):
        super()._write(uc, offset, size, value, base)
        if self.until in self.sent.decode("latin1"):
            self._stop()


def run(path, chip, image=b"", until="\n", seconds=20):
    """A row of the table."""
    elf = Elf(Path(path).read_bytes())
    first = min(address for address, data in elf.loads if data)
    t = replace(targets()[BOARDS[chip]], tick=0)
    vectors = dict(elf.loads).get(first)[256 * (chip == "rp2040"):][:8] if chip == "rp2040" else dict(elf.loads)[first][:8]
    firmware = SimpleNamespace(target=t, elf=SimpleNamespace(loads=elf.loads, read=lambda name: vectors))
    board = Foreign(firmware, image, until)
    try:
        board.run(seconds)
        result = "prints" if until in board.sent.decode("latin1") else "stopped by an exception"
    except MobileNetError as e:
        result = str(e)
    writes = board.chip.writes
    return dict(board=BOARDS[chip], instructions=board.counts()[0], register_writes=len(writes), registers=len({name for name, _ in writes}),
                said=board.sent.decode("latin1").strip(), lost=board.chip.losses(), result=result)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("elf", nargs="?")
    parser.add_argument("--chip", choices=BOARDS)
    parser.add_argument("--rom", help="the chip's ROM: a binary file, or rp2040js's demo/bootrom.ts")
    parser.add_argument("--until", default="\n")
    parser.add_argument("--table", help="the folder of what TABLE names, with ROMs as rp2040.rom, rp2350.rom")
    a = parser.parse_args()
    if a.elf:
        sys.exit(print(run(a.elf, a.chip, rom(a.rom) if a.rom else b"", a.until)))
    rows = []
    for chip, what, path, until in TABLE:
        image = Path(a.table) / f"{chip}.rom"
        found = run(Path(a.table) / path, chip, image.read_bytes() if image.exists() else b"", until)
        rows.append(dict(family="rp2", example=what, commit=COMMIT, **found))
        print(rows[-1])
        assert rows[-1]["result"] == "prints" and until in rows[-1]["said"] + "\n", rows[-1]
    record(__file__, rows)


if __name__ == "__main__":
    main()
