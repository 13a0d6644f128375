"""The registers of a chip, from its vendor's SVD file or headers, as the tables that the strict emulated boards read.

    python benchmarks/chip_registers.py nrf51.svd nrf51      # writes microcontroller/boards/chips/nrf51.txt
    python benchmarks/chip_registers.py nrf51.svd nrf51 --check
    python benchmarks/chip_registers.py pico-sdk/src/rp2040/hardware_regs/include/hardware/regs rp2040

Where they come from: Nordic's from pyOCD (pyocd/debug/svd/svd_data.zip), ST's from https://github.com/cmsis-svd/cmsis-svd-data, and Raspberry
Pi's from the headers of its pico-sdk, which say the same as its SVD files, for the RP2040 and the RP2350 alike. Taken are facts: names,
addresses, reset values, and which bits can be read, written, or cleared by writing a one. Which blocks: `BLOCKS`, those that a start-up, a
console or a vendor's example touches.
"""
import argparse
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

FOLDER = Path(__file__).parent.parent/"microcontroller/boards/chips"
BLOCKS = dict(
    rp2040="SYSINFO SYSCFG CLOCKS RESETS PSM IO_BANK0 IO_QSPI PADS_BANK0 PADS_QSPI XOSC PLL_SYS PLL_USB UART0 UART1 TIMER "
           "WATCHDOG ROSC VREG_AND_CHIP_RESET XIP_CTRL XIP_SSI USBCTRL_REGS SIO BUSCTRL",
    rp2350="SYSINFO SYSCFG CLOCKS RESETS PSM IO_BANK0 IO_QSPI PADS_BANK0 PADS_QSPI XOSC PLL_SYS PLL_USB UART0 UART1 TIMER0 "
           "TIMER1 WATCHDOG TICKS ROSC POWMAN XIP_CTRL XIP_QMI USBCTRL_REGS BOOTRAM SIO BUSCTRL ACCESSCTRL",
    nrf51="POWER CLOCK MPU UART0 TIMER0 TIMER1 TIMER2 RTC0 NVMC FICR UICR GPIO",
    nrf52833="POWER CLOCK UART0 UARTE0 TIMER0 TIMER1 TIMER2 RTC0 TEMP NVMC FICR UICR P0 P1 APPROTECT",
    nrf52840="POWER CLOCK UART0 UARTE0 TIMER0 TIMER1 TIMER2 RTC0 TEMP NVMC FICR UICR P0 P1",
    stm32f446="RCC PWR FLASH GPIOA GPIOB GPIOC GPIOD GPIOH USART1 USART2 USART3 TIM2 TIM5 SYSCFG DBGMCU EXTI DBG",
    stm32h743="RCC PWR Flash FLASH FMC AXI GPIOA GPIOB GPIOC GPIOD GPIOE GPIOH USART1 USART2 USART3 TIM2 TIM5 SYSCFG EXTI DBGMCU",
)


def number(text):
    text = text.strip().lower().replace("_", "")
    return int(text[1:], 2) if text.startswith("#") else int(text, 0)


def own(element, tag, default=None):
    found = element.find(tag)
    return default if found is None or found.text is None else found.text.strip()


def masks(register, access, size):
    """(bits that a write changes, bits that a one clears)."""
    fields, every = register.findall("fields/field"), (1 << size) - 1
    if not fields:
        return (0 if access == "read-only" else every), 0
    written = cleared = 0
    for f in fields:
        if own(f, "bitRange"):
            high, low = map(int, own(f, "bitRange").strip("[]").split(":"))
        elif own(f, "lsb") is not None:
            low, high = number(own(f, "lsb")), number(own(f, "msb"))
        else:
            low = number(own(f, "bitOffset"))
            high = low + number(own(f, "bitWidth", "1")) - 1
        bits, may = ((1 << (high - low + 1)) - 1) << low, own(f, "access", access)
        # Nordic and ST name a bit's effect in `modifiedWriteValues`, for the field or for the register.
        if own(f, "modifiedWriteValues", own(register, "modifiedWriteValues")) == "oneToClear":
            cleared |= bits
        elif may != "read-only":
            written |= bits
    return written, cleared


def registers(parent, base, size, access, reset, prefix=""):
    """Yields (name, offset, access, reset, written, cleared) of registers and clusters."""
    for element in parent:
        if element.tag not in ("register", "cluster"):
            continue
        n, step = number(own(element, "dim", "1")), number(own(element, "dimIncrement", "0"))
        indices = own(element, "dimIndex", "")
        first = int(indices.split("-")[0]) if "-" in indices else 0
        names = indices.split(",") if "," in indices else [str(first + i) for i in range(n)]
        r, s, a = number(own(element, "resetValue", hex(reset))), number(own(element, "size", str(size))), own(element, "access", access)
        for i, index in enumerate(names):
            name = prefix + re.sub(r"\[%s\]|%s", index if n > 1 else "", own(element, "name"))
            offset = base + number(own(element, "addressOffset")) + i*step
            if element.tag == "cluster":
                yield from registers(element, offset, s, a, r, name + "_")
            else:
                yield name, offset, {"read-only": "ro", "write-only": "wo"}.get(a, "rw"), r, *masks(element, a, s)


def from_svd(path, chip):
    """Yields (block, address, its registers) of an SVD file."""
    root = ElementTree.parse(path).getroot()
    size, access, reset = number(own(root, "size", "32")), own(root, "access", "read-write"), number(own(root, "resetValue", "0"))
    peripherals = {own(p, "name"): p for p in root.iter("peripheral")}
    for name in BLOCKS[chip].split():
        if (p := peripherals.get(name)) is None:
            continue
        origin = peripherals[p.get("derivedFrom")] if p.get("derivedFrom") else p
        listed = p.find("registers") if p.find("registers") is not None else origin.find("registers")
        inherited = [own(p, tag, own(origin, tag, default)) for tag, default in (("size", str(size)), ("access", access), ("resetValue", hex(reset)))]
        yield name, number(own(p, "baseAddress")), registers(listed, 0, number(inherited[0]), inherited[1], number(inherited[2]))


def from_headers(folder, chip):
    """Likewise, of the folder of pico-sdk's headers."""

    def defined(name):
        return re.findall(r'#define (\w+)\s+(?:_u\((\w+)\)|"(\S+)")', (Path(folder) / f"{name}.h").read_text())

    bases = {name[:-5]: int(value, 0) for name, value, _ in defined("addressmap") if name.endswith("_BASE")}
    for block in BLOCKS[chip].split():
        header = dict(USBCTRL_REGS="usb", XIP_CTRL="xip", XIP_SSI="ssi", XIP_QMI="qmi", PLL_SYS="pll", PLL_USB="pll").get(block)
        header = header or next(h for h in (block.lower(), block.lower().rstrip("01")) if (Path(folder)/f"{h}.h").exists())
        found, bits = [], 0
        for name, value, access in defined(header):
            if name.endswith("_OFFSET"):
                found.append([name[len(header) + 1:-7], int(value, 0), "rw", 0, 0, 0])
            elif found and name == f"{header.upper()}_{found[-1][0]}_RESET" and value and value != "0x-":
                found[-1][3] = int(value, 0)
            elif name.endswith("_BITS"):
                bits = int(value, 0)
            elif found and name.endswith("_ACCESS"):
                found[-1][4] |= 0 if access in ("RO", "WC") else bits
                found[-1][5] |= bits if access == "WC" else 0
        yield block, bases[block], found


def table(source, chip):
    """The text of `microcontroller/boards/chips/CHIP.txt`."""
    lines = [f"# Registers of {chip}, from its vendor's SVD file or headers by benchmarks/chip_registers.py: a block and its address; then its",
             "# registers: name, offset, access, value after reset, bits that a write changes, bits that a one clears (hexadecimal)."]
    for block, address, found in (from_headers if Path(source).is_dir() else from_svd)(source, chip):
        lines += ["", f"{block} {address:08x}"]
        first = {entry[1]: entry for entry in reversed(list(found))}  # of the names of a place, the first
        for n, o, a, r, w, c in (first[at] for at in sorted(first)):
            lines.append(" ".join((n, f"{o:x}", a, f"{r:x}", f"{w:x}", *([f"{c:x}"] if c else []))))
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("source", help="an SVD file, or a folder of headers")
    parser.add_argument("chip", choices=BLOCKS)
    parser.add_argument("--check", action="store_true", help="compare with what is there")
    a = parser.parse_args()
    path, made = FOLDER/f"{a.chip}.txt", table(a.source, a.chip)
    if a.check:
        there, wanted = ([line for line in text.splitlines() if not line.startswith("#")] for text in (path.read_text(), made))
        sys.exit(0 if there == wanted else f"{path} is not what {a.source} says.")
    path.parent.mkdir(exist_ok=True)
    path.write_text(made)


if __name__ == "__main__":
    main()
