"""ST's own library and examples on our strict models of its chips: they boot, and what they say comes through, or is refused with a reason.

    python benchmarks/foreign_stm32.py FOLDER   # with FOLDER/NAME.elf for each name in `CASES`; writes foreign_stm32.csv

Vectors, reset handler, SystemInit, clocks, pins and UART are ST's, of the commits below; the macros of the board's LEDs and its button are
empty. unicorn has no SysTick interrupt, so HAL's milliseconds stand still: its time-outs never end, and nothing here calls HAL_Delay.
Nothing of it is part of this project.
"""
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

from record import record

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.mcu.chips_stm32 import F446, H743
from mobilenet_keras.mcu.elf import Elf
from mobilenet_keras.mcu.emulators import CHIPS, Unicorn
from mobilenet_keras.mcu.target import target

F4 = "STM32CubeF4 188426c4d5, stm32f4xx_hal_driver d232197f12, cmsis_device_f4 cdbad76185, CMSIS_6 7f62ddc8ab"
H7 = "STM32CubeH7 e109a24f04, stm32h7xx_hal_driver 6f5e35e30a, cmsis_device_h7 13ba9da797, CMSIS_6 7f62ddc8ab"
F446RE, F446ZE = F446, lambda: F446("USART3", "GPIOD", 8, 9)
MESSAGE = " **** UART_TwoBoards_ComPolling **** " * 3  # what the other of two boards says
CASES = {  # {name: (example, and what was changed in it; commits; chip; what it should say, or why it is stopped)}
    "f446re": ("STM32446E-Nucleo UART_Printf", F4, F446RE, "PCLK2 = 180 MHz; 90 is the most"),
    "f446re-div2": ("STM32446E-Nucleo UART_Printf; APB2 divided by 2, as its comment says, 115,200 baud, no parity", F4, F446RE,
                    "printf function to the UART"),
    "f446ze": ("STM32F446ZE-Nucleo UART_Printf (9,600 baud, odd parity)", F4, F446ZE, "USART3: it does not send 8 bits without parity"),
    "f446ze-115200": ("STM32F446ZE-Nucleo UART_Printf; 115,200 baud, no parity", F4, F446ZE, "printf function to the UART"),
    "h743zi": ("NUCLEO-H743ZI UART_TwoBoards_ComPolling, the board that answers; USART 3 for 6", H7, H743, MESSAGE),
    "h743zi-480": ("NUCLEO-H743ZI PWR_VOS0_480MHZ (a VCO at 960 MHz, which revision Y has not)", H7, H743, "It waits for RCC.CR"),
}


class Foreign(Unicorn):
    "A board whose firmware never says that it is ready, stopped once it has said what it should."
    def __init__(self, path, chip, until):
        CHIPS["foreign"], self.until = chip, until
        t, elf = target("nucleo-h743zi" if chip is H743 else "nucleo-f446re"), Elf(Path(path).read_bytes())
        vectors = dict(elf.loads)[t.flash[0]]
        super().__init__(SimpleNamespace(target=replace(t, chip="foreign"), elf=SimpleNamespace(loads=elf.loads, read=lambda name: vectors)))

    def _write(self, uc, offset, size, value, base):
        super()._write(uc, offset, size, value, base)
        if self.until in self.sent.decode("latin1"):
            self._stop()


def row(name, path):
    example, commit, chip, wanted = CASES[name]
    board = Foreign(path, chip, wanted)
    board.inbox += MESSAGE.encode()
    try:
        board.run(60)
        result = "prints"
    except MobileNetError as e:
        result = str(board.error or "prints nothing")
        assert wanted in str(e), e
    return dict(family="stm32", example=example, commit=commit, board=board.target.id,
                instructions="" if result == "prints nothing" else board.counts()[0],
                register_writes=len(board.chip.writes), registers=len({n for n, _ in board.chip.writes}),
                said=board.sent.decode("latin1").strip(), lost=board.chip.losses(), result=result)


if __name__ == "__main__":
    rows = [row(name, Path(sys.argv[1]) / f"{name}.elf") for name in CASES]
    for r in rows:
        print(*r.values(), sep=" | ")
    record(__file__, rows)
