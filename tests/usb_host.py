"""A USB host and the controller of RP2040 and RP2350 between it and a firmware that runs on unicorn.

The controller answers as the datasheets say (RP2040, 4.1.4; RP2350, 12.7.5), and what firmware must not do is an entry of `faults`. The host is a
generator that goes one step whenever the firmware looks at the controller's state: `yield` waits for the next look."""
import queue
import struct
import threading
from collections import deque

from unicorn import UC_HOOK_CODE
from unicorn.arm_const import UC_ARM_REG_R0, UC_ARM_REG_R1, UC_ARM_REG_R2, UC_ARM_REG_R3

from mobilenet_keras.mcu.emulators import Unicorn

DPRAM, USB = 0x50100000, 0x50110000
MAIN, FRAME, SIE, STATUS, DONE, STALL_ARM, MUXING, POWER = (USB + o for o in (0x40, 0x48, 0x4c, 0x50, 0x58, 0x68, 0x74, 0x78))
FULL, DATA1, STALL, AVAILABLE = 1 << 15, 1 << 13, 1 << 11, 1 << 10
RESET, SETUP = 1 << 19, 1 << 17
STALLED, NAK = "stalled", None


class Board(Unicorn):
    """A Pico or Pico 2 with a cable; `host(board)` is the generator at its other end."""

    def __init__(self, firmware, host, microseconds=1):
        super().__init__(firmware, counted=False)
        self.dpram, self.controller, self.faults, self.boot, self.now, self.step = bytearray(4096), {MAIN: 4}, [], None, 0, microseconds
        self.toggle, self.address, self.to_board, self.from_board = {}, 0, deque(), queue.Queue()
        self.host, self.ended = host(self), False
        self._rom()

    def _rom(self):
        """A lookup that always finds one function, and that one: `boot` has what both were called with."""
        new, r = self.target.id == "pico2", lambda *names: [self.uc.reg_read(n) for n in names]
        self.uc.mem_map(0, 4096)
        self.uc.mem_write(0x10, struct.pack("<8H", 0, 0, 0x80, 0x101 if new else 0, 0 if new else 0x101, 0, 0, 0))
        self.uc.mem_write(0x100, struct.pack("<HHII", 0x4801, 0x4770, 0, 0x201))  # ldr r0, [pc, #4]; bx lr
        self.uc.mem_write(0x200, b"\xfe\xe7")
        self.uc.hook_add(UC_HOOK_CODE, lambda *_: setattr(self, "boot", r(UC_ARM_REG_R0, UC_ARM_REG_R1)), begin=0x100, end=0x101)

        def called(*_):
            self.boot += r(UC_ARM_REG_R0, UC_ARM_REG_R1, *[UC_ARM_REG_R2, UC_ARM_REG_R3]*new)
            self.end()
        self.uc.hook_add(UC_HOOK_CODE, called, begin=0x200, end=0x201)

    def _stop(self):
        """It goes on when it is ready."""

    def end(self):
        self.ended = True
        self.uc.emu_stop()

    # ---- what the firmware sees ----

    def _read(self, uc, offset, size, _):
        address = 0x40000000 + offset
        if address == self.target.tick:
            self.now += self.step
            return self.now & 0xffffffff
        if not DPRAM <= address < USB + 0x10000:
            return super()._read(uc, offset, size, _)
        if size != 4:
            self.faults.append(f"{size} bytes of {address:#x}")
        if address < USB:
            return int.from_bytes(self.dpram[address - DPRAM:][:4], "little")
        if address == STATUS:
            self.now += self.step
            if b"\nfault\n" in self.sent:
                self.faults.append("the firmware crashed")
                self.end()
            try:
                next(self.host)
            except StopIteration:
                self.end()
        return self.now // 1000 % 2048 if address == FRAME else self.controller.get(address, 0)

    def _write(self, uc, offset, size, value, _):
        address = 0x40000000 + offset
        if not DPRAM <= address < USB + 0x10000:
            return super()._write(uc, offset, size, value, _)
        if size != 4:
            self.faults.append(f"{size} bytes to {address:#x}")
        if address in (STATUS, DONE):
            self.controller[address] = self.controller.get(address, 0) & ~value
        elif address >= USB:
            self.controller[address] = value
        else:
            place, at = address - DPRAM, slice(address - DPRAM, address - DPRAM + 4)
            old = int.from_bytes(self.dpram[at], "little")
            if 0x80 <= place < 0x100 and value & AVAILABLE and (old & AVAILABLE or old != value & ~AVAILABLE):
                self.faults.append(f"the buffer at {place:#x} was given away with {value:#x} after {old:#x}")
            self.dpram[at] = value.to_bytes(4, "little")

    # ---- what the host does on the wire ----

    @property
    def there(self):
        """A host sees a device."""
        c = self.controller
        return bool(c.get(SIE, 0) >> 16 & 1 and c[MAIN] == 1 and c.get(MUXING) == 9 and c.get(POWER) == 0xc)

    def reset(self):
        self.address, self.toggle = 0, {}
        self.controller[STATUS] = self.controller.get(STATUS, 0) | RESET

    def _buffer(self, endpoint, out):
        if self.controller.get(USB, 0) != self.address:
            return None, 0, 0  # it is not its address: silence
        place = 0x80 + 8*endpoint + 4*out
        control = int.from_bytes(self.dpram[0x08 + 8*(endpoint - 1) + 4*out:][:4], "little") if endpoint else 1 << 31 | 0x100
        return place, int.from_bytes(self.dpram[place:place + 4], "little"), control

    def packet(self, endpoint, data=None):
        """One attempt: bytes that came, b"" for bytes that went, NAK or STALLED."""
        out = data is not None
        place, buffer, control = self._buffer(endpoint, out)
        if place is None or not control >> 31:
            return NAK
        if buffer & STALL and (endpoint or self.controller.get(STALL_ARM, 0) >> out & 1):
            return STALLED
        if not buffer & AVAILABLE:
            return NAK
        toggle, at, n = self.toggle.get((endpoint, out), 0), control & 0xffc0, buffer & 0x3ff
        if bool(buffer & DATA1) != bool(toggle):
            self.faults.append(f"endpoint {endpoint} {'out' if out else 'in'} has the wrong toggle")
        if bool(buffer & FULL) == out:
            self.faults.append(f"endpoint {endpoint} {'out' if out else 'in'} is {'full' if out else 'empty'}")
        self.toggle[endpoint, out] = toggle ^ 1
        if out:
            assert len(data) <= n, "more than it can take"
            self.dpram[at:at + len(data)] = data
        buffer = (buffer & ~(AVAILABLE | FULL | 0x3ff)) | (FULL | len(data) if out else n)
        self.dpram[place:place + 4] = buffer.to_bytes(4, "little")
        self.controller[DONE] = self.controller.get(DONE, 0) | 1 << 2*endpoint + out
        return b"" if out else bytes(self.dpram[at:at + n])

    def until(self, endpoint, data=None, looks=2000):
        """Repeat it while it is refused for now."""
        for _ in range(looks):
            if (got := self.packet(endpoint, data)) is not NAK:
                return got
            yield
        return NAK

    def setup(self, kind, request, value=0, index=0, length=0):
        self.dpram[:8] = struct.pack("<BBHHH", kind, request, value, index, length)
        self.controller[STALL_ARM] = 0
        self.controller[STATUS] = self.controller.get(STATUS, 0) | SETUP
        self.toggle[0, False] = self.toggle[0, True] = 1
        for place in (0x80, 0x84):  # a SETUP ends what came before
            self.dpram[place:place + 4] = bytes(4)

    def control(self, kind, request, value=0, index=0, length=0, data=b"", early=False):
        """A whole request: what came, STALLED or NAK; `early`: the host has enough after a packet."""
        self.setup(kind, request, value, index, length)
        yield
        got = b""
        if kind & 128 and length:
            while len(got) < length:
                part = yield from self.until(0)
                if part in (NAK, STALLED):
                    return part
                got += part
                if len(part) < 64 or early:
                    break
            self.toggle[0, True] = 1
            done = yield from self.until(0, b"")
        else:
            for start in range(0, len(data), 64):
                if (part := (yield from self.until(0, data[start:start + 64]))) in (NAK, STALLED):
                    return part
            self.toggle[0, False] = 1
            done = yield from self.until(0)
        return got if done == b"" else done

    def enumerate(self, address=5):
        """What a computer does with a new device, up to an open port."""
        while not self.there:
            yield
        self.reset()
        yield
        device = yield from self.control(0x80, 6, 0x100, 0, 64)
        self.reset()
        yield
        assert (yield from self.control(0, 5, address)) == b""
        self.address = address
        yield
        assert (yield from self.control(0x80, 6, 0x100, 0, 18)) == device
        head = yield from self.control(0x80, 6, 0x200, 0, 9)
        whole = yield from self.control(0x80, 6, 0x200, 0, int.from_bytes(head[2:4], "little"))
        assert (yield from self.control(0, 9, 1)) == b""
        assert (yield from self.control(0x21, 0x20, 0, 0, 7, struct.pack("<IBBB", 115200, 0, 0, 8))) == b""
        return device, whole

    def open(self):
        assert (yield from self.control(0x21, 0x22, 3)) == b""

    def serve(self, reads=lambda: True):
        """Carry bytes between `to_board` and `from_board`, for ever."""
        while not self.ended:
            if self.to_board:
                part = bytes(self.to_board[i] for i in range(min(64, len(self.to_board))))
                if self.packet(2, part) == b"":
                    for _ in part:
                        self.to_board.popleft()
            if reads() and (got := self.packet(2)):
                for byte in got:
                    self.from_board.put(byte)
            yield


class Line:
    """A board that runs on, as the stream of a `Device`."""

    def __init__(self, board):
        self.board = board
        self.thread = threading.Thread(target=lambda: board.uc.emu_start(board.pc | 1, 0xfffffffe), daemon=True)
        self.thread.start()

    def write(self, data):
        self.board.to_board.extend(data)

    def read(self, n):
        try:
            found = [self.board.from_board.get(timeout=.05)]
        except queue.Empty:
            return b""
        while len(found) < n and not self.board.from_board.empty():
            found.append(self.board.from_board.get())
        return bytes(found)

    @property
    def in_waiting(self):
        return self.board.from_board.qsize()

    def close(self):
        self.board.ended = True
        self.board.uc.emu_stop()
        self.thread.join(10)


def run(firmware, host, **more):
    """A board whose host has come to its end."""
    board = Board(firmware, host, **more)
    board.uc.emu_start(board.pc | 1, 0xfffffffe)
    return board
