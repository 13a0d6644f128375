"""RP2040 and RP2350, as strict as the chips: what start-up must do, and what happens if it doesn't."""
import struct

import pytest
from small_firmware import built
from strict import outcome, unnoticed

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.mcu.chips_rp2 import RP2040, RP2350

# Writes of start-up that nobody misses, and why the chip wouldn't either.
HARMLESS = {
    ("SCB.VTOR", 0x10000100): "the second stage writes it, and start-up again: a debugger may start there",
    ("XIP_SSI.SSIENR", 0): "the first: without it the SSI keeps what the ROM set, which reads the status as well, at 1/6 of the clock",
    ("XIP_SSI.SSIENR", 1): "before the status is read: it is then taken for 0, and the flash is read by one wire: slower",
    ("XIP_SSI.BAUDR", 4): "the ROM leaves 6: slower",
    ("XIP_SSI.RX_SAMPLE_DLY", 1): "only a margin of time, which no model here has",
    ("XIP_SSI.CTRLR0", 7 << 16): "the ROM leaves the same",
    ("XIP_SSI.DR0", 0x35): "the status is taken for 0, and the flash is read by one wire: slower",
    ("XIP_SSI.DR0", 0): "likewise",
    ("XIP_SSI.CTRLR1", 0): "it is 0 after reset",
    ("CLOCKS.CLK_SYS_CTRL", 0): "for a restart by a debugger, while the PLL runs; 0 after reset on the RP2040",
    ("PADS_BANK0.GPIO0", 0x52): "an RP2040's pad starts with 0x56: its output works, with a pull-down",
    ("PADS_BANK0.GPIO1", 0x5A): "an RP2040's pad starts with 0x56: it hears; pulled up, an open line says nothing",
    ("UART0.UARTFBRD", 0x34): "the baud rate is then 1.2 % too high",
    ("UART0.UARTFBRD", 0x18): "the baud rate is then 0.5 % too high",
}


@pytest.mark.parametrize("board, fewest", [("pico", 24), ("pico2", 20)])
def test_each_write_of_start_up_removed_in_turn(board, fewest):
    same, caught = unnoticed(built(board), "UART0.UARTDR")
    assert [w for w in same if w not in HARMLESS] == [], "nobody notices that they are missing"
    assert len(caught) >= fewest, caught
    sentences = {name: said for name, _, said in caught}
    assert "waits for PLL_SYS.CS" in sentences["PLL_SYS.FBDIV_INT"] and "pin GP0 has another function" in sentences["IO_BANK0.GPIO0_CTRL"]
    assert sentences["IO_BANK0.GPIO1_CTRL"] == "it says something else", "it doesn't hear the message"


def test_what_comes_before_is_not_what_comes_after():
    """The same chip, asked for the same thing before and after."""
    chip = RP2040()
    first = chip.read(0x4000C008, 4)
    assert first == 0 and chip.read(0x4000C008, 4) == 1 << 21 | 1 << 9 | 1 << 6, "but what the ROM needs: timer, the flash's pins and pads"
    chip.write(0x4000F000, 4, 1 << 22)  # RESETS, the alias that clears: the UART
    assert not any(chip.read(0x4000C008, 4) >> 22 & 1 for _ in range(3)), "clk_peri does not run"
    chip.write(0x40008048, 4, 1 << 11)
    assert [chip.read(0x4000C008, 4) >> 22 & 1 for _ in range(3)] == [0, 1, 1], "the ring oscillator is enough for that"
    chip.write(0x40034000, 4, 65)
    assert chip.losses() == "UART0: it is off"
    chip.write(0x40034014, 4, 1)
    assert not chip.read(0x40034014, 4) and chip.losses().endswith("UART0.0x14: there is no such register")
    with pytest.raises(MobileNetError, match="0x41000000 of the rp2040 was accessed: nothing lies there, or it is not modelled"):
        chip.write(0x41000000, 4, 0)


def running(chip, clocks, xosc, pll):
    """The chip with its crystal on clk_ref, and its PLL set up but not selected."""
    for at, value in ((xosc + 0xC, 47), (xosc, 0xFABAA0)):
        chip.write(at, 4, value)
    while not chip.read(xosc + 4, 4) >> 31:
        pass
    chip.write(clocks + 0x30, 4, 2)
    for at, value in ((pll + 8, 125), (pll + 0x3004, 0x21)):
        chip.write(at, 4, value)
    while not chip.read(pll, 4) >> 31:
        pass
    chip.write(pll + 0x3004, 4, 8)


def test_the_processor_goes_only_as_fast_as_it_can():
    chip = RP2040()
    chip.write(0x4000F000, 4, 1 << 12)
    running(chip, 0x40008000, 0x40024000, 0x40028000)
    chip.write(0x4002800C, 4, 6 << 16 | 2 << 12)
    assert chip.hz("ref") == 12e6 and chip.hz("pll_sys") == 125e6 and chip.hz("sys") == 12e6
    chip.write(0x4000803C, 4, 1)
    assert chip.hz("sys") == 125e6 and chip.runs("sys")
    with pytest.raises(MobileNetError, match="turned the auxiliary switch while the processor ran by it"):
        chip.write(0x4000803C, 4, 0x61)
    chip = RP2350()
    chip.write(0x40023000, 4, 1 << 14)
    running(chip, 0x40010000, 0x40048000, 0x40050000)
    chip.write(0x4005000C, 4, 4 << 16 | 2 << 12)
    chip.write(0x4001003C, 4, 0)
    with pytest.raises(MobileNetError, match="switched to 188 MHz; the rp2350 takes 150"):
        chip.write(0x4001003C, 4, 1)


def test_a_baud_rate_is_taken_with_the_line_control():
    """The PL011 latches its divisors by a write of UARTLCR_H."""
    said, writes = outcome(built("pico"))
    chip = RP2040()
    for name, value in [w for w in writes if not w[0].startswith("SCB")][17:40]:  # after the ROM's second stage
        if name not in ("UART0.UARTDR", "UART0.UARTLCR_H"):
            chip.write(chip.named[name] + (0x3000 if name in ("RESETS.RESET", "PLL_SYS.PWR") else 0), 4, value)
        for at in (0x4000C008, 0x40024004, 0x40008038, 0x40028000, 0x40008044):
            [chip.read(at, 4) for _ in range(3)]
    chip.values[chip.named["UART0.UARTLCR_H"]] = 0x70
    assert chip.sending().fault() == "its baud rate comes from no clock, or from one that is inexact"
    chip.write(chip.named["UART0.UARTLCR_H"], 4, 0x70)
    assert chip.sending().fault() == chip.receiving().fault() == "" and chip.sending().baud == pytest.approx(115_200, rel=1e-3)


def test_the_rom_checks_the_second_stage():
    firmware = built("pico")
    data = bytearray(firmware.elf.data)
    at = bytes(data).index(struct.pack("<I", 0x88CE644B))  # its CRC
    data[at] ^= 1
    from dataclasses import replace

    from mobilenet_keras.mcu.elf import Elf
    from mobilenet_keras.mcu.emulators import Unicorn
    with pytest.raises(MobileNetError, match="ROM of an RP2040 would not start this firmware: the CRC"):
        Unicorn(replace(firmware, elf=Elf(bytes(data))))
