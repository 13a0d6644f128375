"""Nordic's own drivers on our strict models of its chips: programs made of Nordic's published sources boot, and what they say comes through.

    python benchmarks/foreign_nrf.py FOLDER     # with FOLDER/CHIP-DRIVER.elf for each of `TABLE`; writes foreign_nrf.csv

Start-up code, SystemInit, linker scripts, registers and drivers (nrfx 1.9.0, the last that has the nRF51) are Nordic's. nrfx has no example that
is a whole program, so each has a short main that calls nothing but `nrfx_clock`, `nrfx_timer` and `nrfx_uart` or `nrfx_uarte`: it starts the
crystal, sends a line, echoes two bytes, and tells a timer's ticks. Nothing of it is part of this project.
"""
import argparse
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from record import record

from mobilenet_keras.mcu.elf import Elf
from mobilenet_keras.mcu.emulators import Unicorn
from mobilenet_keras.mcu.target import targets

BOARDS = dict(nrf51="microbit", nrf52833="microbit-v2", nrf52840="nano33ble")
TABLE = [(chip, driver) for chip in BOARDS for driver in ("uart", "uarte") if (chip, driver) != ("nrf51", "uarte")]
COMMIT = "nrfx 1aa7824f45, CMSIS_6 7f62ddc8ab"


def run(chip, elf, message=b"!\n"):
    """What the board says, and the board."""
    t = targets()[BOARDS[chip]]
    program = SimpleNamespace(loads=elf.loads, read=lambda name: dict(elf.loads)[0][:8])
    board = Unicorn(SimpleNamespace(target=replace(t, flash=(0, t.board.flash), tick=0), elf=program))
    board.inbox += message
    return board.run(20), board


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    folder, rows = parser.parse_args().folder, []
    for chip, driver in TABLE:
        said, board = run(chip, Elf((folder / f"{chip}-{driver}.elf").read_bytes()))
        first, ticks = said.split("!\n")
        assert first == f"Nordic's nrfx_{driver} says hello.\n" and int(ticks, 16) > 100 and not board.inbox, said
        rows.append(dict(family="nrf", example=f"nrfx_clock, nrfx_timer, nrfx_{driver}: hello, echo, ticks", commit=COMMIT,
                         board=BOARDS[chip], instructions=board.counts()[0], register_writes=len(board.chip.writes),
                         registers=len({n for n, _ in board.chip.writes}), said=said.strip().replace("\n", " | "),
                         lost=board.chip.losses(), result="prints"))
        print(rows[-1])
    record(__file__, rows)


if __name__ == "__main__":
    main()
