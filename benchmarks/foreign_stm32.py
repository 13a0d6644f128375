"""Firmware that others wrote boots on the strict STM32 boards: rows of foreign_stm32.csv.

    python benchmarks/foreign_stm32.py NAME ELF [NAME ELF ...]   # NAMES: `CASES`

An ELF is built apart, with arm-none-eabi-gcc, from what ST publishes: https://github.com/STMicroelectronics, repositories STM32CubeF4 and
STM32CubeH7 (examples), stm32f4xx_hal_driver and stm32h7xx_hal_driver, cmsis_device_f4 and cmsis_device_h7, and ARM-software/CMSIS_6. Its
vectors, reset handler, SystemInit, clocks, pins and UART are ST's; macros of the LEDs are empty. unicorn has no SysTick interrupt, so HAL's milliseconds
stand still: its time-outs never end, and nothing here calls HAL_Delay.
"""
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
from record import record  # noqa: E402

from mobilenet_keras.core import MobileNetError  # noqa: E402
from mobilenet_keras.mcu.chips_stm32 import F446, H743  # noqa: E402
from mobilenet_keras.mcu.elf import Elf  # noqa: E402
from mobilenet_keras.mcu.emulators import CHIPS, Unicorn  # noqa: E402
from mobilenet_keras.mcu.target import target  # noqa: E402

F4, H7 = "188426c4d562", "e109a24f043e"  # commits of STM32CubeF4 and STM32CubeH7
CASES = {  # {name: (example and what was changed in it, commit, board, its chip)}
    "f446re": ("STM32446E-Nucleo UART_Printf, unchanged", F4, "nucleo-f446re", F446),
    "f446re-115200": ("STM32446E-Nucleo UART_Printf at 115,200 baud without parity", F4, "nucleo-f446re", F446),
    "f446re-div2": ("STM32446E-Nucleo UART_Printf at 115,200 baud without parity, APB2 divided by 2 as its comment says", F4, "nucleo-f446re", F446),
    "f446ze": ("STM32F446ZE-Nucleo UART_Printf, unchanged", F4, "nucleo-f446re", lambda: F446("USART3", "GPIOD", 8, 9)),
    "f446ze-115200": ("STM32F446ZE-Nucleo UART_Printf at 115,200 baud without parity", F4, "nucleo-f446re", lambda: F446("USART3", "GPIOD", 8, 9)),
    "h743zi": ("NUCLEO-H743ZI UART_TwoBoards_ComPolling, the board that answers, on USART 3 for USART 6", H7, "nucleo-h743zi", H743),
    "h743zi-480": ("NUCLEO-H743ZI PWR_VOS0_480MHZ, unchanged: revision Y has no VOS0", H7, "nucleo-h743zi", H743),
}


class Foreign(Unicorn):
    "An emulated board whose firmware never says that it is ready."
    last = 0

    def _write(self, uc, offset, size, value, base):
        before = len(self.sent)
        super()._write(uc, offset, size, value, base)
        if len(self.sent) != before:
            self.last = self.counts()[0]


def boot(path, board, chip, seconds=2):
    """(emulator, error) after so many seconds."""
    CHIPS["foreign"], elf = chip, Elf(Path(path).read_bytes())
    first = next(data for address, data in elf.loads if address == target(board).flash[0])
    made = Foreign(SimpleNamespace(target=replace(target(board), chip="foreign"), elf=SimpleNamespace(loads=elf.loads, read=lambda _: first)))
    made.inbox += b" **** UART_TwoBoards_ComPolling **** " * 3  # what its first board says
    try:
        made.run(seconds)
    except MobileNetError as e:
        return made, made.error or e
    return made, None


def row(name, path):
    example, commit, board, chip = CASES[name]
    u, error = boot(path, board, chip)
    written = {register for register, _ in u.chip.writes}
    return dict(family="stm32", example=example, commit=commit, board=board, instructions=u.last, writes=len(u.chip.writes), registers=len(written),
                printed=bytes(u.sent).decode("ascii", "replace").strip(), result="boots and prints" if u.sent else str(u.error or u.chip.losses() or error))


if __name__ == "__main__":
    pairs = list(zip(sys.argv[1::2], sys.argv[2::2]))
    rows = [row(name, path) for name, path in pairs]
    for r in rows:
        print(r)
    record(__file__, rows)
