"""STM32F446 and STM32H743, as strict as the chips: what start-up must do, and what happens if it doesn't."""
import importlib.util
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest
from small_firmware import built
from strict import unnoticed
from unicorn import UC_HOOK_MEM_WRITE

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.mcu.chips_stm32 import F446, H743
from mobilenet_keras.mcu.emulators import Unicorn
from mobilenet_keras.mcu.registers import registers_of

# Writes of start-up that nobody misses, and why the chip wouldn't either.
HARMLESS = {
    ("AXI.AXI_TARG7_FN_MOD", 1): "revision Y may read wrong data from the AXI SRAM without it, now and then (ES0392): nothing to wait for",
    ("SCB.VTOR", 0x08000000): "the flash, which lies at 0, too, on the F446 (RM0390, 2, boot configuration); the H743 starts with it (RM0433, 2.6)",
    ("SCB.CSSELR", 0): "it is 0 after reset, and only chooses whose size CCSIDR tells, which this start-up knows",
    ("SCB.MPU_RNR", 0): "nothing here reads ahead, so nothing shows that external memory is not shut; it is 0 after reset, too",
    ("SCB.MPU_RBAR", 0): "likewise", ("SCB.MPU_RASR", 0x1004873F): "likewise", ("SCB.MPU_CTRL", 5): "likewise",
    ("SCB.CCR", 3 << 16): "without its caches the processor is slower, and no model here has time",
    ("USART3.CR3", 1 << 12): "without it reception stops after a byte that nobody took in time (RM0433, 48.5.6); here no byte is ever late",
}


def test_each_write_of_the_f446s_start_up_removed_in_turn():
    same, caught = unnoticed(built("nucleo-f446re"), "USART2.DR")
    assert same == [("SCB.VTOR", 0x08000000)] and len(caught) == 13, same
    why = {name: said for name, _, said in caught}
    assert "PWR.CR: its clock is off (RCC.APB1ENR, bit 28)" in why["RCC.APB1ENR"]
    assert "GPIOA.MODER: its clock is off" in why["RCC.AHB1ENR"]
    assert "USART2: its baud rate is 61,381, not 115,200" in why["RCC.PLLCFGR"], "96 MHz, as the PLL is set after reset"
    for name, at in (("RCC.CR", "PWR.CSR"), ("PWR.CR", "PWR.CSR"), ("FLASH.ACR", "FLASH.ACR"), ("RCC.CFGR", "RCC.CFGR")):
        assert f"waits for {at}," in why[name]
    assert "pin PA2 is not given to an alternate function" in why["GPIOA.MODER"] and "pin PA2 has function 0, not 7" in why["GPIOA.AFRL"]
    assert "USART2: it is off" in why["USART2.CR1"] and why["TIM2.CR1"] == "it says something else"


def test_each_write_of_the_h743s_start_up_removed_in_turn():
    same, caught = unnoticed(built("nucleo-h743zi"), "USART3.TDR")
    assert {*same} == {*HARMLESS} and len(caught) == 21, same
    why = {name: said for name, _, said in caught}
    assert "waits for PWR.CSR1" in why["PWR.CR3"]
    assert "instruction cache, which holds anything after reset" in why["SCB.ICIALLU"]
    assert [said.split(":")[1] for name, _, said in caught if name == "SCB.DCISW"] == 2 * [
        " SCB.CCR turned on the data cache, of whose 512 lines 511 were invalidated"]
    assert "the processor's clock = 400 MHz; 200 is the most at VOS3" in why["PWR.D3CR"]
    assert all(f"{what}; {most} is the most at VOS1" in why[f"RCC.{name}"] for name, what, most in (
        ("D1CFGR", "the AXI clock = 400 MHz", 200), ("D2CFGR", "PCLK1 = 200 MHz", 100), ("D3CFGR", "PCLK4 = 200 MHz", 100)))
    assert all("waits for RCC.CR, " in why[f"RCC.{name}"] for name in ("PLLCKSELR", "PLLCFGR", "PLL1DIVR", "CR")), "beyond its range no PLL locks"
    assert "USART3.BRR: its clock is off (RCC.APB1LENR, bit 18)" in why["RCC.APB1LENR"]
    assert "pin PD8 has function 0, not 7" in why["GPIOD.AFRH"]


def poke(chip, *writes):
    for name, value in writes:
        chip.write(chip.named[name], 4, value)


def ask(chip, name, times=4):
    return [chip.read(chip.named[name], 4) for _ in range(times)][-1]


def fast_f446(latency=5, buses=4 << 13 | 5 << 10, drive=True):
    """At 180 MHz, or what stops it."""
    chip = F446()
    poke(chip, ("RCC.APB1ENR", 1 << 28 | 1 << 17 | 1), ("RCC.AHB1ENR", 1))
    poke(chip, ("RCC.PLLCFGR", 8 << 24 | 180 << 6 | 8), ("RCC.CR", 1 << 24 | 1))
    assert ask(chip, "RCC.CR") >> 25 & 1
    if drive:
        poke(chip, ("PWR.CR", 1 << 16 | 0xC000))
        assert ask(chip, "PWR.CSR") >> 16 & 3 == 1
        poke(chip, ("PWR.CR", 3 << 16 | 0xC000))
        assert ask(chip, "PWR.CSR") >> 16 & 3 == 3
    poke(chip, ("FLASH.ACR", latency), ("RCC.CFGR", buses | 2))
    assert chip.read(chip.named["RCC.CFGR"], 4) >> 2 & 3 == 2
    return chip


def test_the_f446_goes_only_as_fast_as_it_can():
    chip = fast_f446()
    assert (chip.ahb(), chip.apb(1), chip.apb(2), chip.timer_hz()) == (180e6, 45e6, 90e6, 90e6)
    for wrong, sentence in ((dict(latency=4), "set to 180 MHz with 4 wait states of its flash; it needs 5 at 3.3 V"),
                            (dict(drive=False), "HCLK = 180 MHz; 168 is the most at voltage scale 1 without over-drive"),
                            (dict(buses=4 << 13), "PCLK1 = 180 MHz; 45 is the most"), (dict(buses=5 << 10), "PCLK2 = 180 MHz; 90 is the most")):
        with pytest.raises(MobileNetError, match=sentence):
            fast_f446(**wrong)
    with pytest.raises(MobileNetError, match="180 MHz with 0 wait states"):
        poke(chip, ("FLASH.ACR", 0))
    chip = fast_f446()
    poke(chip, ("RCC.PLLCFGR", 0x24003010), ("RCC.CR", 0), ("PWR.CR", 3 << 16 | 0x4000))
    assert chip.ahb() == 180e6 and "stays on while" in chip.lost["RCC.CR"]
    assert chip.lost["RCC.PLLCFGR"] == "it can be written only while the PLL is off"
    assert chip["PWR.CR"] >> 14 == 3 | 3 << 2, "nor can the voltage change"


def test_a_clock_that_does_not_run_is_not_switched_to():
    chip = F446()
    poke(chip, ("RCC.CFGR", 2))
    assert ask(chip, "RCC.CFGR") == 2 and chip.lost["RCC.CFGR"] == "the processor still runs by HSI, since PLL does not run"
    poke(chip, ("RCC.CR", 1 << 16 | 1))
    assert not ask(chip, "RCC.CR") >> 17 & 1, "the Nucleo has no crystal: HSE needs its bypass"
    poke(chip, ("RCC.CR", 0), ("RCC.CR", 5 << 16 | 1))
    assert ask(chip, "RCC.CR") >> 17 & 1 and chip.hz("HSE") == 8e6
    poke(chip, ("RCC.PLLCFGR", 432 << 6 | 16), ("RCC.CR", 1 << 24 | 1))
    assert ask(chip, "RCC.CR") >> 25 & 1 and chip.hz("PLL") == 216e6, "1 MHz * 432 / 2"
    for n, m in ((433, 16), (192, 4), (49, 16)):
        poke(chip, ("RCC.CR", 1), ("RCC.PLLCFGR", n << 6 | m), ("RCC.CR", 1 << 24 | 1))
        assert not ask(chip, "RCC.CR") >> 25 & 1, "out of its range"


def test_the_f446s_uart():
    """RM0390, 25.4.4: BRR is the divisor in sixteenths, and with OVER8 in eighths of which bit 3 is left out: 45 MHz / 391 either way."""
    chip = fast_f446()
    poke(chip, ("GPIOA.MODER", 0xA80000A0), ("GPIOA.AFRL", 0x7700), ("USART2.CR1", 0x200C))
    for divisor, over8, baud in ((391, 0, 115_090), (24 << 4 | 7, 0, 115_090), (48 << 4 | 7, 1 << 15, 115_090), (390, 0, 115_385)):
        poke(chip, ("USART2.BRR", divisor), ("USART2.CR1", 0x200C | over8))
        assert chip.sending().baud == pytest.approx(baud, abs=1) and not chip.sending().fault() and not chip.receiving().fault()
    for name, value, why in (
            ("USART2.BRR", 4688, "its baud rate is 9,599, not 115,200"),
            ("USART2.CR1", 0x2004, "its transmitter is off"), ("USART2.CR1", 0xC, "it is off"),
            ("USART2.CR1", 0x240C, "it does not send 8 bits"), ("USART2.CR2", 1 << 13, "it does not send 8 bits"), ("GPIOA.OTYPER", 4, "open drain"),
            ("GPIOA.AFRL", 0x8800, "PA2 has function 8, not 7"), ("GPIOA.MODER", 0xA8000090, "PA2 is not given to an alternate function"),
            ("RCC.APB1RSTR", 1 << 17, "it is held in reset"), ("RCC.APB1ENR", 1 << 28, "its clock is off (RCC.APB1ENR, bit 17)")):
        before, chip.lost = chip.values.copy(), {}
        poke(chip, (name, value), ("USART2.DR", 65))
        assert why in chip.losses() and not chip.said, why
        chip.values.update(before)
    chip.lost = {}
    poke(chip, *[("USART2.DR", c) for c in b"abc"])
    assert chip.said == b"ab" and chip.losses() == "USART2: its queue was full", "one in the register, one on its way"
    assert [ask(chip, "USART2.SR", 1) >> 6 & 3 for _ in range(3)] == [0, 2, 3]


def test_every_bit_is_a_word():
    """PM0214, 2.2.5: bit 24 of RCC_CR, PLLON, is the word at 42470060."""
    chip = F446()
    chip.write(0x42470060, 4, 1)
    assert chip["RCC.CR"] >> 24 & 1 and [chip.read(0x42470060 + 4 * i, 4) for i in (0, 1, 1, 1)] == [1, 0, 1, 1]
    with pytest.raises(MobileNetError, match="0x40024000 of the stm32f446 was accessed: nothing lies there"):
        chip.write(0x42480000, 4, 1)


def supplied(vos=3, acr=0x22):
    chip = H743()
    poke(chip, ("PWR.CR3", 2))
    assert ask(chip, "PWR.CSR1") >> 13 & 1
    poke(chip, ("PWR.D3CR", vos << 14))
    assert ask(chip, "PWR.D3CR") >> 13 & 1
    poke(chip, ("Flash.ACR", acr), ("RCC.PLLCKSELR", 4 << 4), ("RCC.PLLCFGR", 1 << 16 | 3 << 2), ("RCC.PLL1DIVR", 1 << 9 | 49))
    poke(chip, ("RCC.CR", 1 << 24 | 1))
    assert ask(chip, "RCC.CR") >> 25 & 1
    poke(chip, ("RCC.D1CFGR", 0x48), ("RCC.D2CFGR", 0x440), ("RCC.D3CFGR", 0x40), ("RCC.CFGR", 3))
    return chip


def test_the_h743_goes_only_as_fast_as_it_can():
    chip = supplied()
    assert (chip.cpu_hz(), chip.ahb(), chip.apb(1), chip.timer_hz()) == (400e6, 200e6, 100e6, 200e6)
    for wrong, sentence in ((dict(vos=2), "400 MHz; 300 is the most at VOS2"),
                            (dict(acr=0x21), "set to 200 MHz with 1 wait states of its flash; it needs 2 at VOS1"),
                            (dict(acr=0x12), "AXI clock of 200 MHz with WRHIGHFREQ = 1 in Flash.ACR; it needs 2 at VOS1")):
        with pytest.raises(MobileNetError, match=sentence):
            supplied(**wrong)
    with pytest.raises(MobileNetError, match="400 MHz; 200 is the most at VOS3"):
        poke(chip, ("PWR.D3CR", 1 << 14))


def test_the_h743s_supply_comes_first_and_once():
    chip = H743()
    assert not ask(chip, "PWR.CSR1") >> 13 & 1
    poke(chip, ("PWR.D3CR", 0xC000))
    assert "before the supply is configured" in chip.lost["PWR.D3CR"] and chip["PWR.D3CR"] == 0x4000
    with pytest.raises(MobileNetError, match="turned off the regulator"):
        poke(chip, ("PWR.CR3", 1))
    chip = H743()
    poke(chip, ("PWR.CR3", 2), ("PWR.CR3", 1))
    assert chip["PWR.CR3"] == 2 and chip.lost["PWR.CR3"] == "the supply can be configured only once"


def test_the_h743s_ram_is_written_only_once_its_supply_is_configured():
    board, asked = Unicorn(built("nucleo-h743zi"), counted=False), []

    def write(*_):
        asked.append((list(board.chip.writes), board.chip.polled["the supply"]))
        board._stop()
    board.uc.hook_add(UC_HOOK_MEM_WRITE, write, begin=0x20000000, end=0x2407FFFF)
    assert board.run() == "" and asked[0] == ([("PWR.CR3", 2), ("AXI.AXI_TARG7_FN_MOD", 1)], 3), "the first word of the stack, after ACTVOSRDY"


def test_the_h743s_core_is_told_of_its_memory():
    """Caches on; nothing between 60000000 and dfffffff, of which the MPU's region 0 leaves out the eighths 0, 1, 2 and 7."""
    board = Unicorn(built("nucleo-h743zi"), counted=False)
    board.run()
    ccr, control, attributes = (int.from_bytes(board.uc.mem_read(at, 4), "little") for at in (0xE000ED14, 0xE000ED94, 0xE000EDA0))
    assert ccr >> 16 & 3 == 3 and control == 5 and attributes >> 24 & 7 == 0 and attributes >> 8 & 255 == 0x87 and attributes & 63 == 63


def test_the_h743s_uart():
    chip = supplied()
    poke(chip, ("RCC.AHB4ENR", 8), ("RCC.APB1LENR", 1 << 18), ("GPIOD.MODER", 0xFFFAFFFF), ("GPIOD.AFRH", 0x77))
    poke(chip, ("USART3.BRR", 868), ("USART3.CR1", 0xD))
    assert chip.sending().baud == pytest.approx(115_207, abs=1) and not chip.sending().fault() and not chip.receiving().fault()
    poke(chip, ("USART3.BRR", 556), ("USART3.PRESC", 1))
    assert chip["USART3.BRR"] == 868 and chip.lost["USART3.BRR"] == "it can be written only while UE is clear"
    poke(chip, ("USART3.CR1", 0xC), ("RCC.D2CCIP2R", 3), ("USART3.BRR", 278), ("USART3.PRESC", 1), ("USART3.CR1", 0xD))
    assert chip.sending().baud == pytest.approx(64e6 / 2 / 278) and not chip.sending().fault(), "the kernel's clock is HSI"
    assert ask(chip, "USART3.ISR", 1) & 0x6000C0 == 0x6000C0, "TXE, TC, TEACK, REACK"


def test_timers_count_from_the_clock_tree():
    for chip, hz in ((fast_f446(), 90e6), (supplied(), 200e6)):
        poke(chip, ("RCC.APB1ENR" if hz == 90e6 else "RCC.APB1LENR", 1 << 28 | 1))
        done = [0, 0]
        chip.clock = lambda done=done: done
        poke(chip, ("TIM2.CR1", 1))
        done[0] += int(chip.cpu_hz())  # a second
        assert ask(chip, "TIM2.CNT", 1) == pytest.approx(hz, rel=1e-5)
        poke(chip, ("TIM2.PSC", 9))
        done[0] += int(chip.cpu_hz())
        assert ask(chip, "TIM2.CNT", 1) == pytest.approx(2 * hz, rel=1e-5), "a new prescaler counts from the next update"
        poke(chip, ("TIM2.EGR", 1))
        done[0] += int(chip.cpu_hz())
        assert ask(chip, "TIM2.CNT", 1) == pytest.approx(hz / 10, rel=1e-5)


def test_a_reset_puts_a_block_back():
    chip = F446()
    poke(chip, ("RCC.AHB1ENR", 1), ("GPIOA.MODER", 0xA0), ("RCC.AHB1RSTR", 1))
    assert ask(chip, "GPIOA.MODER") == 0 and chip.lost["GPIOA.MODER"] == "it is held in reset"
    poke(chip, ("RCC.AHB1RSTR", 0))
    assert ask(chip, "GPIOA.MODER") == 0xA8000000
    assert ask(chip, "UID.FLASH_SIZE") >> 16 == 512 and ask(H743(), "UID.FLASH_SIZE") == 2048, "KB"


@pytest.mark.parametrize("other, fewest", [("STM32F41x", 120), ("STM32F429x", 120)])
def test_tables_agree_with_other_chips_of_the_family(other, fewest):
    """pyOCD carries ST's files of two more: registers that both have lie at the same places."""
    found = importlib.util.find_spec("pyocd")
    if not found:
        pytest.skip("pyocd is not installed")
    with zipfile.ZipFile(Path(found.submodule_search_locations[0]) / "debug/svd/svd_data.zip") as archive:
        if f"{other}.svd" not in archive.namelist():
            pytest.skip(f"this pyocd has no file of {other}")
        root = ElementTree.fromstring(archive.read(f"{other}.svd"))
    peripherals, theirs = {p.findtext("name"): p for p in root.iter("peripheral")}, {}
    for block, p in peripherals.items():
        origin = peripherals[p.get("derivedFrom")] if p.get("derivedFrom") and p.find("registers") is None else p
        for r in origin.iter("register"):
            theirs[f"{block}.{r.findtext('name')}"] = int(p.findtext("baseAddress"), 0) + int(r.findtext("addressOffset"), 0)
    ours = {str(r): r.address for r in registers_of("stm32f446")}
    both = ours.keys() & theirs.keys()
    assert len(both) >= fewest and [n for n in both if ours[n] != theirs[n]] == [], len(both)
