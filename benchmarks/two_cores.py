"""One core and two: instructions, time and RAM of an inference on an emulated Pico and Pico 2. Untested on hardware.

Method: firmware as `build` makes it, on one unicorn or on two that share their memory; a core that waits takes over the clock of the one that
wakes it, so `clock` is what the first needs with all waiting (cycles on a Pico, instructions on a Pico 2). On the Pico the words
that a cache of the flash does not have (flash_cache.py), for two cores that take turns of 100 instructions, are an upper bound of what they
add: one core may compute while the other waits for the flash; the lower bound is the longer of both. That both want the same bank
of RAM, or the cache, in one cycle is left out. Writes two_cores.csv: a row for each network, board, place of the kernels and number of cores.

Ten minutes, behind flash_cache.py: python benchmarks/two_cores.py
"""
import csv
import itertools
from pathlib import Path

from flash_cache import missed, networks
from record import record

from mobilenet_keras.boards import FLASH_WORD
from mobilenet_keras.core import text_table
from mobilenet_keras.mcu.firmware import build
from mobilenet_keras.mcu.simulate import run_firmware


def known():
    """{(network, place of the kernels): words that one core misses}, of flash_cache.csv."""
    with open(Path(__file__).with_name("flash_cache.csv"), encoding="utf-8") as file:
        rows = [r for r in csv.DictReader(file) if r["layout"] == "v6m"]
    return {(r["model"], r["kernels_in"]): int(r["words_of_code"]) + int(r["words_of_data"]) for r in rows}


def row(name, model, board, hot, cores):
    firmware = build(model, board, hot=hot, cores=cores, keep_dead=True)
    seen = run_firmware(firmware, None, "unicorn", seconds=900)
    assert seen.as_built
    second, mhz = seen.second_instructions or 0, firmware.target.board.mhz
    found = dict(model=name, board=board, kernels_in=hot, cores=cores, instructions=seen.instructions, second_core=second,
                 cycles=seen.cycles or "", ram_used=firmware.ram_used, of_second_core=firmware.second_bytes,
                 flash_used=firmware.flash_used, missed_words="", ms_at_once="", ms_least="", ms_most="")
    if board != "pico":  # whose flash is not modelled
        return found | dict(ms_at_once=round(seen.estimated_ms))
    words = sum(missed(firmware, counted=False, turns=itertools.repeat(100))[:2]) if cores > 1 else known()[name, hot]
    flash = words * FLASH_WORD["RP2040"]
    least, most = max(seen.cycles, flash) if cores > 1 else seen.cycles + flash, seen.cycles + flash
    at_once, least, most = (round(cycles / mhz / 1e3) for cycles in (seen.cycles, least, most))
    return found | dict(missed_words=words, ms_at_once=at_once, ms_least=least, ms_most=most)


def main():
    rows = []
    for (name, model), (board, hot), cores in itertools.product(networks().items(), (("pico", "flash"), ("pico", "ram"), ("pico2", "flash")), (1, 2)):
        rows.append(row(name, model, board, hot, cores))
        print(rows[-1], flush=True)
    print(text_table(list(rows[0]), [r.values() for r in rows]))
    print(f"Written to {record(__file__, rows).name}. Emulated; untested on hardware.")


if __name__ == "__main__":
    main()
