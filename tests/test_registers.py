"""Registers from the vendors' tables, the console's line, and who waits for ever."""
import pytest

from mobilenet_keras.core import MobileNetError, microcontroller_folder
from mobilenet_keras.mcu import registers
from mobilenet_keras.mcu.emulators import CHIPS


@pytest.mark.parametrize("chip", sorted(p.stem for p in (microcontroller_folder() / "boards/chips").glob("*.txt")))
def test_the_tables_of_the_chips(chip):
    found = registers.registers_of(chip)
    assert len(found) > 100 and len({str(r) for r in found}) == len(found)
    for r in found:
        assert r.address % 4 == 0 and r.access in ("rw", "ro", "wo") and not r.written & r.cleared and max(r.reset, r.written, r.cleared) < 1 << 32


@pytest.mark.parametrize("name", sorted(CHIPS))
def test_a_chip_after_reset(name):
    """Every hook belongs to a register; a block that answers has the reset values of its vendor's table."""
    chip = CHIPS[name]()
    hooks = [m.split("_", 1)[1] for m in dir(chip) if m.startswith(("read_", "write_"))]
    ours = {str(r).replace(".", "_") for c in CHIPS for r in registers.registers_of(CHIPS[c]().chip)}
    assert hooks and set(hooks) <= ours
    assert chip.losses() == "" and chip.sending().fault()


class Toy(registers.Console):
    console = "UART0"
    on = True

    def sending(self):
        return registers.Line(115_000, ((self.on, "it is off"),))

    def deaf(self, block):
        return "it is in reset" if block == "UART1" else ""

    def write_UART0_UARTDR(self, value, old):
        self.send(value, 2)

    def read_UART0_UARTFR(self, value):
        return value | self.drain() << 8


def test_bytes_that_are_lost():
    toy = Toy("rp2040")
    for byte in b"abc":
        toy.write(0x40034000, 4, byte)
    assert toy.said == b"ab" and toy.losses() == "UART0: its queue was full"
    assert [toy.read(0x40034018, 4) >> 8 for _ in range(3)] == [2, 1, 0]
    toy.on = False
    toy.write(0x40034000, 4, 100)
    assert toy.said == b"ab"
    toy.write(0x40038030, 4, 1)
    assert toy["UART1.UARTCR"] == 0x300 and "UART1.UARTCR: it is in reset" in toy.losses()
    assert registers.Line(117_600).fault() == "its baud rate is 117,600, not 115,200" and not registers.Line(117_400).fault()


def test_bytes_aliases_and_ones_that_clear():
    toy = Toy("rp2040")
    toy.aliases = True
    toy.write(0x40034024, 4, 0xFFFFFFFF)
    assert toy.read(0x40034024, 4) == 0xFFFF and toy.read(0x40034025, 1) == 0xFF
    toy.write(0x40036024, 4, 0), toy.write(0x40037024, 4, 0xFF00), toy.write(0x40035024, 4, 0x0F)
    assert toy["UART0.UARTIBRD"] == 0xF0
    toy.write(0x40034024, 1, 0x12)
    assert toy["UART0.UARTIBRD"] == 0x12
    toy.replicates = True
    toy.write(0x40034024, 1, 0x34)
    assert toy["UART0.UARTIBRD"] == 0x3434
    toy.values[0x40034044] = 0x7FF
    toy.write(0x40034044, 4, 0xF)
    assert toy["UART0.UARTICR"] == 0x7F0
    toy.write(0x40034018, 4, 0)
    assert "UART0.UARTFR: it can only be read" in toy.losses()


def test_who_waits_for_ever_is_told_for_what():
    toy = Toy("rp2040")
    toy.patience = 10
    for i in range(30):
        assert not toy.read(0x40024004, 4)
        toy.write(0x40034024, 4, i)
    for _ in range(3):
        toy.read(0x40024000, 4), toy.read(0x40024004, 4)
    with pytest.raises(MobileNetError, match="It waits for XOSC.(CTRL|STATUS), which stays 0x0, for ever"):
        for _ in range(9):
            toy.read(0x40024000, 4), toy.read(0x40024004, 4)
