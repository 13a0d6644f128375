"""What the cache of an RP2040's flash costs: simulated behind every fetch and load of an emulated core, and as `engine.costs` predicts it.

Method: unicorn tells each block of code before it runs, and each load; those in flash go through a cache as the RP2040 datasheet has it
(2.6.3.1): 16 KB, two ways of 1,024 lines of 8 bytes. A word that is missed is fetched alone, as others measured (raspberrypi/
pico-feedback, issue 307). Which way is replaced is not documented: the one not used for longer, and, for comparison, one by chance.
A word costs 80 cycles: 20 of the flash's clock, a quarter of the processor's, as rp2040_boot.c sets it; what selecting the chip takes is left
out. Untested on hardware. Writes flash_cache.csv: a row for each network, layout and place of the kernels.

Ten minutes: python benchmarks/flash_cache.py
"""
import sys
from pathlib import Path
from random import Random

import unicorn

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
from engine_models import VWW, network  # noqa: E402
from record import record  # noqa: E402

from mobilenet_keras.boards import FLASH_WORD  # noqa: E402
from mobilenet_keras.core import text_table  # noqa: E402
from mobilenet_keras.engine.mbn import compile_model  # noqa: E402
from mobilenet_keras.mcu.emulators import TwoCores, Unicorn  # noqa: E402
from mobilenet_keras.mcu.firmware import build  # noqa: E402
from mobilenet_keras.mcu.fit import missed_words  # noqa: E402
from mobilenet_keras.tflite.model import Model  # noqa: E402

SETS = 1024


class Cache:
    """Words of code and of data that were missed so far."""

    def __init__(self, by_chance=False):
        self.missed, lines, halves = [0, 0], [[-1, -1] for _ in range(SETS)], [[0, 0] for _ in range(SETS)]  # the line used last comes first
        choose, missed = Random(0).getrandbits, self.missed

        def access(word, data):
            line, half = word >> 1, 1 << (word & 1)
            tags, there = lines[line % SETS], halves[line % SETS]
            if tags[0] == line:
                way = 0
            elif tags[1] == line:
                way = 1
                if not by_chance:
                    tags.reverse(), there.reverse()
                    way = 0
            else:
                way = 0 if not by_chance else tags.index(-1) if -1 in tags else choose(1)
                if not by_chance:
                    tags.reverse(), there.reverse()
                tags[way], there[way] = line, 0
            if not there[way] & half:
                there[way] |= half
                missed[data] += 1
        self.access = access


def behind_cache(kind):
    """An emulated board of that class whose flash is behind a cache, which two cores share."""
    class Cached(kind):
        def __init__(self, firmware, cache, **how):
            self.cache, self.at_marks = cache, []
            super().__init__(firmware, **how)

        def _new_core(self):
            uc, access, (begin, size) = super()._new_core(), self.cache.access, self.target.flash
            end = begin + size

            def block(uc, address, size, _):
                if begin <= address < end:
                    for word in range(address >> 2, (address + size + 3) >> 2):
                        access(word, 0)
            uc.hook_add(unicorn.UC_HOOK_BLOCK, block)
            uc.hook_add(unicorn.UC_HOOK_MEM_READ, lambda uc, _, address, *__: access(address >> 2, 1), None, begin, end - 1)
            return uc

        def _read(self, uc, offset, size, base):
            if base + offset == self.target.tick:
                self.at_marks.append(tuple(self.cache.missed))
            return super()._read(uc, offset, size, base)
    return Cached


def missed(firmware, by_chance=False, **how):
    """(words of code, words of data, instructions, cycles) of a classification."""
    board = behind_cache(TwoCores if firmware.target.cores > 1 else Unicorn)(firmware, Cache(by_chance), **how)
    board.run(900)
    return [b - a for pair in (board.at_marks, board.marks) for a, b in zip(*pair[:2])]


def networks():
    vww = Model.open(ROOT.parent / f"shared/models/{VWW}.tflite")
    return {"MobileNetV1 0.25 96x96x3": vww, "MobileNetV2 0.35 96x96x3": network("V2", .35, 96, 2)}


def main():
    rows = []
    for name, model in networks().items():
        for layout, hot in (("v6m", "flash"), ("v6m", "ram"), ("portable", "flash")):
            firmware = build(compile_model(model, layout=layout, keep_dead=True), "pico", hot=hot)
            code, data, count, cycles = missed(firmware)
            predicted, price = missed_words(firmware.elf.read("app_model"), firmware.target), FLASH_WORD["RP2040"]
            ms = lambda words, cycles=cycles, price=price: round((cycles + price * words) / 125e3)  # noqa: E731
            by_chance = sum(missed(firmware, by_chance=True)[:2]) if layout == "v6m" else ""
            rows.append(dict(model=name, layout=layout, kernels_in=hot, instructions=count, cycles=cycles, words_of_code=code, words_of_data=data,
                             words_by_chance=by_chance, words_predicted=predicted, predicted_error=f"{predicted / (code + data) - 1:.3f}",
                             ms_without_misses=ms(0), ms=ms(code + data), ms_predicted=ms(predicted)))
            print(rows[-1], flush=True)
    print(text_table(list(rows[0]), [r.values() for r in rows]))
    print(f"Written to {record(__file__, rows).name}. Simulated; untested on hardware.")


if __name__ == "__main__":
    main()
