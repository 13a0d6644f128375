"""Boards on the strict models: the console as a stream, and what is missed when a register write of start-up is removed."""
from unittest import mock

from unicorn.arm_const import UC_ARM_REG_PC

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.mcu import emulators
from mobilenet_keras.mcu.emulators import Unicorn


class Emulated:
    """A board on unicorn as a stream; the flash holds what arrived on its disk."""

    def __init__(self, built, arrived=None, counted=False):
        self.board = Unicorn(built, counted)
        for address, data in (arrived or {}).items():
            self.board.uc.mem_write(address, bytes(data))
        self.board.run()
        self.board.sent.clear()

    def write(self, data):
        self.board.inbox += data

    def read(self, n):
        if not self.board.sent:
            self.board.uc.emu_start(self.board.uc.reg_read(UC_ARM_REG_PC) | 1, 0xFFFFFFFE, timeout=50_000)
        found = bytes(self.board.sent)
        self.board.sent.clear()
        return found


def outcome(firmware, skip=None, chip=None):
    """(What a board says until it is ready and to a garbled message, or the error that stops it; the register writes of its start-up)."""
    board = Unicorn(firmware)
    board.chip.skip = skip
    for name, value in (chip or {}).items():
        board.chip[name] = value
    try:
        with mock.patch.object(emulators, "_PATIENCE", 2000):  # soon told to wait for ever
            said = board.run()
    except MobileNetError as e:
        return str(e), board.chip.writes
    board.sent.clear()
    board.inbox += b"\xc0?\xc0"
    board.chip.patience, writes = 2000, list(board.chip.writes)
    board.uc.emu_start(board.uc.reg_read(UC_ARM_REG_PC) | 1, 0xFFFFFFFE, timeout=5_000_000)  # until it waits for the next message
    assert "for ever" in str(board.error)
    return said + board.sent.hex(), writes


def start_up(writes, data_register):
    """Of register writes, those before the first byte to the console."""
    names = [name for name, _ in writes]
    return writes[:names.index(data_register)]


def unnoticed(firmware, data_register):
    """{(register, value) whose write nobody missed}, and what came of each of the others, as (register, value, sentence).

    Of the lines of a cache only the first and the last are left out.
    """
    undisturbed, writes = outcome(firmware)
    assert "photo as expected" in undisturbed and len(undisturbed.split("ready\n")[1]) > 20
    same, caught, writes = [], [], start_up(writes, data_register)
    names = [name for name, _ in writes]
    for i, (name, value) in enumerate(writes):
        if name == "SCB.DCISW" and names[i - 1] == names[i + 1] == name:
            continue
        said, _ = outcome(firmware, i)
        if said == undisturbed:
            same.append((name, value))
        else:
            caught.append((name, value, said if said.startswith("The emulated") else "it says something else"))
    return same, caught
