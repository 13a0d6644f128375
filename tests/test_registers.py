"""Registers from the vendors' tables, a core's own, the console's line, and who waits for ever."""
import struct

import pytest
from small_firmware import built
from unicorn.arm_const import UC_ARM_REG_R0, UC_ARM_REG_R1, UC_ARM_REG_S15

from mobilenet_keras.core import MobileNetError, microcontroller_folder
from mobilenet_keras.mcu import registers
from mobilenet_keras.mcu.emulators import CHIPS, Unicorn


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


FLOAT = (0xEE07, 0x0A90)  # vmov s15, r0
AWAY = (0xE7FF,)          # a branch to what follows
GIVE = (0x6808, 0xF440, 0x0070, 0x6008)  # ldr r0, [r1]; orr r0, r0, #0xf00000; str r0, [r1]
ISB = (0xF3BF, 0x8F6F)


@pytest.mark.parametrize("board", ["nano33ble", "nucleo-f446re", "nucleo-h743zi", "pico2", "mps2-an386"])
@pytest.mark.parametrize("before, runs", [((), False), (GIVE, False), ((*GIVE, *ISB), True)])
def test_floating_point_before_cpacr(board, before, runs):
    """DDI0403E, B3.2.20: no access until CP10 and CP11 say so and an ISB has passed; unicorn itself executes it either way."""
    emulated = Unicorn(built(board), counted=False)
    uc, at, code = emulated.uc, emulated.target.ram[0] + 64, (0xBF00, *AWAY, *before, *FLOAT, *AWAY)
    uc.mem_write(at, struct.pack(f"<{len(code)}H", *code))
    uc.reg_write(UC_ARM_REG_R0, 0x3F800000), uc.reg_write(UC_ARM_REG_R1, 0xE000ED88), uc.reg_write(UC_ARM_REG_S15, 0)
    uc.emu_start(at | 1, at + 2 * len(code))
    assert (uc.reg_read(UC_ARM_REG_S15) != 0) == runs == (emulated.error is None)
    if not runs:
        assert f"floating-point instruction at {at + 4:#x} or behind, and CPACR, which is 0x0, does not give it" in str(emulated.error)


def test_a_cortex_m0_has_neither_vtor_nor_coprocessors():
    for core, vtor, cpacr in (("cortex_m0", 0, 0), ("cortex_m0plus", 0x10000100, 0), ("cortex_m3", 0x10000180, 0),
                              ("cortex_m4", 0x10000180, 0xF00000), ("cortex_m33", 0x10000180, 0xF0FFFF)):
        system = registers.System(core, Toy("rp2040"))
        system.write(0xD08, 4, 0x100001FF), system.write(0xD88, 4, 0xFFFFFFFF)
        assert (system["VTOR"], system["CPACR"], system.floats()) == (vtor, cpacr, cpacr > 0)
        system.write(0x10, 4, 7)
        assert system.read(0x10, 4) == 7 and system.read(0xD80, 4) == 0, "SysTick is memory; no caches"


def cached():
    toy = Toy("rp2040")
    toy.caches = {0: 0xF00FE019, 1: 0xF01FE009}
    return registers.System("cortex_m7", toy)


def test_caches_go_on_only_once_they_are_invalid():
    """As CMSIS does it: the numbers of ways and sets are read from CCSIDR."""
    for left_out in (None, (0, 0), (3, 127), (1, 64)):
        system = cached()
        system.write(0xD84, 4, 0)
        size = system.read(0xD80, 4)
        for line in range(size >> 13 & 0x7FFF, -1, -1):
            for way in range(size >> 3 & 0x3FF, -1, -1):
                if (way, line) != left_out:
                    system.write(0xF60, 4, line << 5 | way << 30)
        if left_out:
            with pytest.raises(MobileNetError, match="data cache, of whose 512 lines 511 were invalidated: DCISW"):
                system.write(0xD14, 4, 1 << 16)
        else:
            system.write(0xD14, 4, 1 << 16)
            assert system.read(0xD16, 1) == 1
    with pytest.raises(MobileNetError, match="instruction cache.*ICIALLU comes first"):
        system.write(0xD14, 4, 1 << 17)
    system.write(0xF50, 4, 0), system.write(0xF60, 4, 64 << 5 | 1 << 30), system.write(0xD14, 4, 3 << 16)
    assert system["CCR"] == 3 << 16
    system.write(0xD84, 4, 1)
    assert system.read(0xD80, 4) == 0xF01FE009
    none = registers.System("cortex_m4", Toy("rp2040"))
    none.write(0xD14, 4, 0x30200)
    assert none["CCR"] == 0x200, "no cache, no bits"


@pytest.mark.parametrize("board", ["nano33ble", "pico2"])
def test_vectors_that_are_somebody_elses(board):
    emulated = Unicorn(built(board), counted=False)
    emulated.chip.skip = 0
    with pytest.raises(MobileNetError, match="was ready with VTOR = 0x0, where no vectors of its firmware lie: a fault would not be told"):
        emulated.run()
    assert emulated.chip.writes[0][0] == "SCB.VTOR"
