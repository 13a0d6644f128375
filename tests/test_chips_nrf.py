"""nRF51822, nRF52833 and nRF52840, as strict as the chips: what start-up must do, and what happens if it doesn't."""
import re
import zipfile
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from small_firmware import built
from strict import outcome, unnoticed

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.mcu.chips_nrf import NRF51, NRF52833, NRF52840
from mobilenet_keras.mcu.emulators import Unicorn, emulator_for
from mobilenet_keras.mcu.registers import registers_of

# Writes of start-up that nobody misses, and why the chip wouldn't either.
HARMLESS = {
    ("SCB.VTOR", 0): "where the flash lies, and VTOR points after reset; a Cortex-M0 has none",
    ("UART0.ENABLE", 0): "it is off after reset; for a bootloader that leaves it on: test_behind_a_bootloader",
    ("UART0.EVENTS_TXDRDY", 0): "likewise",
    ("TIMER0.TASKS_STOP", 1): "likewise",
    ("NVMC.ICACHECNF", 1): "without its cache the flash of an nRF52 is slower (PS, NVMC: Cache), and no model here has its wait states",
}


@pytest.mark.parametrize("board, fewest", [("microbit", 13), ("microbit-v2", 13), ("nano33ble", 13)])
def test_each_write_of_start_up_removed_in_turn(board, fewest):
    same, caught = unnoticed(built(board), "UART0.TXD")
    assert [w for w in same if w not in HARMLESS] == [], "nobody notices that they are missing"
    assert len(caught) >= fewest, caught
    sentences = {(name, value): said for name, value, said in caught}
    assert "waits for CLOCK.EVENTS_HFCLKSTARTED" in sentences["CLOCK.TASKS_HFCLKSTART", 1]
    assert "UART0.TASKS_STARTTX: the UART is not enabled" in sentences["UART0.ENABLE", 4]
    assert "its transmitter was not started" in sentences["UART0.TASKS_STARTTX", 1]
    for silent in (("UART0.TASKS_STARTRX", 1), ("TIMER0.BITMODE", 3), ("TIMER0.PRESCALER", 0), ("TIMER0.TASKS_START", 1)):
        assert sentences[silent] == "it says something else", "it doesn't hear the message, or tells another time"


def test_behind_a_bootloader():
    """It leaves the UART on, on other pins, with a byte sent; what start-up does about that can't be left out."""
    left = {"UART0.ENABLE": 4, "UART0.PSEL_TXD": 5, "UART0.EVENTS_TXDRDY": 1, "P1.OUT": 0}
    undisturbed, writes = outcome(built("nano33ble"))
    assert outcome(built("nano33ble"), chip=left) == (undisturbed, writes)
    off, sent = (outcome(built("nano33ble"), writes.index((name, 0)), left)[0] for name in ("UART0.ENABLE", "UART0.EVENTS_TXDRDY"))
    assert "UART0.PSEL_TXD: a pin must be chosen before the UART is enabled" in off and "not on pin P1.03" in off
    assert undisturbed.startswith("\nmobilenet") and sent.startswith("\nobilenet"), "a byte was written while the last one was sent"


@pytest.mark.parametrize("board, per_tick", [("microbit", 1), ("nano33ble", 4)])
def test_ticks_are_what_the_processor_took(board, per_tick):
    """Cycles on the M0, whose flash is as fast as it; on the M4 instructions, four to a tick of 16 MHz."""
    emulated = Unicorn(built(board))
    ticks = int(re.search("ticks ([0-9]+)", emulated.run())[1])
    begin, end = (mark[per_tick == 1] for mark in emulated.marks)
    assert ticks == pytest.approx((end - begin) / per_tick, abs=1) and ticks > 50_000


def test_strict_boards_run_on_their_strict_model():
    assert emulator_for(built("microbit")) == "unicorn" and emulator_for(built("microbit"), "qemu") == "qemu"


def started(chip):
    """The crystal runs, and the pins and the UART are as a driver leaves them; the transmitter's pin is `chip.wired[0]`."""
    out, into = chip.wired

    def write(name, value):
        chip.write(chip.named[name], 4, value)

    def set_up(n, register, value):
        write(f"{chip.ports[n >> 5]}.{register}", value)
    write("CLOCK.TASKS_HFCLKSTART", 1)
    while not chip.read(chip.named["CLOCK.EVENTS_HFCLKSTARTED"], 4):
        pass
    set_up(out, "OUTSET", 1 << (out & 31)), set_up(out, "DIRSET", 1 << (out & 31)), set_up(into, f"PIN_CNF{into & 31}", 0)
    for address, pin in ((chip.psel["TXD"], out), (chip.psel["RXD"], into)):
        chip.write(address, 4, pin)
    write("UART0.BAUDRATE", 0x01D7E000), write("UART0.ENABLE", 4), write("UART0.TASKS_STARTTX", 1), write("UART0.TASKS_STARTRX", 1)
    return write


@pytest.mark.parametrize("kind", [NRF51, NRF52833, NRF52840])
def test_what_each_part_of_the_line_is_for(kind):
    chip = kind()
    write = started(chip)
    assert chip.sending().fault() == chip.receiving().fault() == "" and chip.sending().baud == 16e6 / 138
    write("UART0.BAUDRATE", 0x00275000)
    assert chip.sending().fault() == "its baud rate is 9,598, not 115,200"
    write("UART0.BAUDRATE", 0x01D60000)
    assert chip.sending().fault() == "", "the UARTE's entry: 115,108"
    write("UART0.CONFIG", 0xE)
    assert "without parity" in chip.sending().fault()
    write("UART0.CONFIG", 0), write("CLOCK.TASKS_HFCLKSTOP", 1)
    assert chip.sending().fault() == "its baud rate comes from no clock, or from one that is inexact"
    assert chip.read(chip.named["CLOCK.HFCLKSTAT"], 4) == 1 << 16, "the RC oscillator"
    chip.write(chip.psel["TXD"], 4, 3)
    assert chip.sending().fault().startswith("its baud rate") and "a pin must be chosen before the UART is enabled" in chip.losses()
    with pytest.raises(MobileNetError, match="0x41000000 of the nrf.* was accessed: nothing lies there"):
        chip.read(0x41000000, 4)
    chip.write(0x40002520, 4, 0)
    assert "0x520: there is no such register" in chip.losses()


def test_a_crystal_needs_to_be_asked_for():
    chip = NRF51()
    assert [chip.read(0x40000100, 4) for _ in range(9)] == [0] * 9 and not chip.exact()
    chip.write(0x40000000, 4, 1)
    assert [chip.read(0x40000100, 4) for _ in range(4)] == [0, 0, 1, 1] and chip.exact() and chip.read(0x40000000, 4) == 0, "a task reads as zero"
    chip.write(0x40000100, 4, 0)
    assert chip.read(0x40000100, 4) == 0, "an event comes once"
    chip.write(0x40000550, 4, 0)
    assert not chip.exact(), "the micro:bit's crystal has 16 MHz, not 32"


def test_a_byte_at_a_time():
    chip = NRF52833()
    write = started(chip)
    write("UART0.TXD", 65), write("UART0.TXD", 66)
    assert chip.said == b"A" and "written before TXDRDY" in chip.losses()
    chip.inbox += b"xyz"
    ready, received = chip.named["UART0.EVENTS_RXDRDY"], chip.named["UART0.RXD"]
    assert chip.read(ready, 4) == 1
    write("UART0.EVENTS_RXDRDY", 0)
    assert chip.read(received, 4) == ord("x") and chip.read(ready, 4) == 1
    assert chip.read(received, 4) == ord("y"), "z moves up"
    write("UART0.EVENTS_RXDRDY", 0)
    assert chip.read(ready, 4) == 0, "cleared after reading, not before: z was announced already"


def test_a_line_that_falls_begins_a_byte():
    chip = NRF51()
    chip.write(0x50000518, 4, 1 << 24)
    chip.write(chip.psel["TXD"], 4, 24)
    chip.write(chip.named["UART0.ENABLE"], 4, 4)
    assert chip.said == b"\0"


def test_three_ways_to_one_word():
    chip = NRF52840()
    chip.write(0x50000508, 4, 0b1100), chip.write(0x5000050C, 4, 0b0100)
    assert [chip.read(0x50000000 + at, 4) for at in (0x504, 0x508, 0x50C)] == [0b1000] * 3
    chip.write(0x50000700 + 4 * 5, 4, 3)
    assert chip.read(0x50000514, 4) == chip.read(0x50000518, 4) == 1 << 5, "PIN_CNF's first bit is DIR"
    chip.write(0x5000051C, 4, 1 << 5)
    assert chip.read(0x50000714, 4) == 2
    chip.write(0x40002304, 4, 1 << 7), chip.write(0x40002304, 4, 1 << 2), chip.write(0x40002308, 4, 1 << 7)
    assert chip.read(0x40002300, 4) == chip.read(0x40002304, 4) == 1 << 2, "INTEN"


def test_flash_takes_zeros_when_it_may():
    chip = NRF52840()
    chip.write(0x10001080, 4, 0x1234)
    assert chip.read(0x10001080, 4) == 0xFFFFFFFF and "UICR.CUSTOMER0: NVMC.CONFIG does not let it be written" in chip.losses()
    chip.write(0x4001E504, 4, 1), chip.write(0x10001080, 4, 0xFF00FF00), chip.write(0x10001080, 4, 0x00FFFF00)
    assert chip.read(0x10001080, 4) == 0x0000FF00
    chip.write(0x10000010, 4, 1)
    assert "FICR.CODEPAGESIZE: it can only be read" in chip.losses() and chip.read(0x4001E400, 4) == 1


def test_a_timer_counts_in_its_bits():
    chip, passed = NRF51(), [0]
    chip.clock = lambda: (1, passed[0])

    def capture():
        chip.write(0x40008040, 4, 1)
        return chip.read(0x40008540, 4)
    passed[0] += 1000
    assert capture() == 0, "not started"
    chip.write(0x40008000, 4, 1)
    passed[0] += 1600
    assert capture() == 100, "1 MHz after reset: 16 / 2^4"
    chip.write(0x40008510, 4, 0)
    assert "TIMER0.PRESCALER: the timer must be stopped first" in chip.losses()
    chip.write(0x40008004, 4, 1), chip.write(0x40008510, 4, 0), chip.write(0x4000800C, 4, 1), chip.write(0x40008000, 4, 1)
    passed[0] += 70_000
    assert capture() == 70_000 & 0xFFFF, "16 bits after reset"
    chip.write(0x40008004, 4, 1), chip.write(0x40008508, 4, 3)
    passed[0] += 999
    assert capture() == 70_000, "stopped, it keeps its count; in 32 bits it is seen whole"
    fast = NRF52840()
    fast.clock = lambda: (passed[0], 0)
    fast.write(0x40008510, 4, 0), fast.write(0x40008508, 4, 3), fast.write(0x40008000, 4, 1)
    passed[0] += 6400
    fast.write(0x40008048, 4, 1)
    assert fast.read(0x40008548, 4) == pytest.approx(1600, abs=1), "64 MHz is four times the timer's 16"


def test_dma_reaches_ram_only():
    chip, ram = NRF52840(), bytearray(b"hello" + bytes(11))

    def mem_write(address, data):
        ram[address - 0x20000000:address - 0x20000000 + len(data)] = data
    memory = SimpleNamespace(mem_read=lambda address, n: ram[address - 0x20000000:][:n], mem_write=mem_write)
    chip.start(memory, SimpleNamespace(target=SimpleNamespace(ram=(0x20000000, 1 << 18))))
    write = started(chip)
    write("UART0.ENABLE", 0), write("UART0.ENABLE", 8)
    write("UARTE0.TXD_PTR", 0x20000000), write("UARTE0.TXD_MAXCNT", 5), write("UART0.TASKS_STARTTX", 1)
    end = chip.named["UARTE0.EVENTS_ENDTX"]
    assert chip.said == b"hello" and [chip.read(end, 4) for _ in range(7)] == [0] * 5 + [1, 1], "a look for each byte"
    chip.inbox += b"ab"
    write("UARTE0.RXD_PTR", 0x20000008), write("UARTE0.RXD_MAXCNT", 2), write("UART0.TASKS_STARTRX", 1)
    end = chip.named["UARTE0.EVENTS_ENDRX"]
    assert [chip.read(end, 4) for _ in range(2)] == [0, 1] and ram[8:10] == b"ab" and chip.read(chip.named["UARTE0.RXD_AMOUNT"], 4) == 2
    write("UARTE0.TXD_PTR", 0x8000)
    with pytest.raises(MobileNetError, match="UARTE0.TXD_PTR is 0x8000 and TXD_MAXCNT 5: the DMA reaches RAM only, from 0x20000000"):
        write("UART0.TASKS_STARTTX", 1)


def test_what_nordics_start_up_asks_and_no_table_names():
    parts = [NRF51().read(0xF0000FE0, 4), NRF52833().read(0x10000130, 4), NRF52840().read(0x10000130, 4)]
    assert parts == [1, 13, 8], "as Nordic's MDK knows them"


def svd(chip):
    """Nordic's own table, as pyOCD carries it."""
    spec = find_spec("pyocd")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("needs pyocd, which carries Nordic's SVD files")
    with zipfile.ZipFile(Path(spec.submodule_search_locations[0]) / "debug/svd/svd_data.zip") as z:
        return ElementTree.fromstring(z.read(f"{chip}.svd"))


@pytest.mark.parametrize("chip, kind", [("nrf51", NRF51), ("nrf52833", NRF52833), ("nrf52840", NRF52840)])
def test_the_tables_are_nordics(chip, kind):
    ours, seen, rates = {str(r): r for r in registers_of(chip)}, 0, 0
    peripherals = {p.findtext("name"): p for p in svd(chip).iter("peripheral")}
    for name, p in peripherals.items():
        listed = p if p.find("registers") is not None else peripherals[p.get("derivedFrom")]
        for r in listed.findall("registers/register"):
            if (register := ours.get(f"{name}.{r.findtext('name')}")) is None or r.find("dim") is not None:
                continue
            assert register.address == int(p.findtext("baseAddress"), 0) + int(r.findtext("addressOffset"), 0), str(register)
            assert r.find("resetValue") is None or register.reset == int(r.findtext("resetValue"), 0), str(register)
            access = {"read-only": "ro", "write-only": "wo"}.get(r.findtext("access"), "rw")
            assert r.find("access") is None or register.access == access, str(register)
            seen += 1
            for entry in r.iter("enumeratedValue") if name.startswith("UART") and r.findtext("name") == "BAUDRATE" else ():
                if actual := re.search(r"actual rate: (\d+)", entry.findtext("description")):
                    model = kind()
                    started(model)("UART0.BAUDRATE", int(entry.findtext("value"), 0))
                    assert model.sending().baud == pytest.approx(int(actual[1]), abs=1), entry.findtext("description")
                    rates += 1
    assert seen > 100 and rates >= (0 if chip == "nrf51" else 15)
