"""A shared library of another system, run by unicorn: its segments where it wants them, what it imports from C in Python, its functions called."""
import struct

import numpy as np
from exports import exports, uleb
from unicorn import UC_ARCH_ARM64, UC_ARCH_X86, UC_HOOK_CODE, UC_MODE_64, UC_MODE_ARM, Uc
from unicorn import arm64_const as arm
from unicorn import x86_const as x86

PAGE, STUBS, STACK, HEAP = 1 << 14, 0x700000000, 0x710000000, 0x720000000
ARM = [getattr(arm, f"UC_ARM64_REG_X{i}") for i in range(8)]
UNIX = [x86.UC_X86_REG_RDI, x86.UC_X86_REG_RSI, x86.UC_X86_REG_RDX, x86.UC_X86_REG_RCX, x86.UC_X86_REG_R8, x86.UC_X86_REG_R9]
WINDOWS = [x86.UC_X86_REG_RCX, x86.UC_X86_REG_RDX, x86.UC_X86_REG_R8, x86.UC_X86_REG_R9]


def elf_parts(data):
    """([(address, bytes, room)], {slot: what goes there: a number or an imported name})."""
    at, = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<2H", data, 54)
    heads = [struct.unpack_from("<2I6Q", data, at + i * size) for i in range(count)]
    segments = [(h[3], data[h[2]:h[2] + h[5]], h[6]) for h in heads if h[0] == 1]
    image = bytearray(max(a + room for a, _, room in segments))
    for a, some, _ in segments:
        image[a:a + len(some)] = some
    dynamic = next(h for h in heads if h[0] == 2)
    tags = dict(struct.unpack_from("<2Q", image, dynamic[3] + i) for i in range(0, dynamic[5], 16))
    slots = {}
    for table, length in ((7, 8), (23, 2)):  # DT_RELA, DT_JMPREL
        for i in range(tags.get(table, 0), tags.get(table, 0) + tags.get(length, 0), 24):
            slot, info, addend = struct.unpack_from("<2Qq", image, i)
            name, _, _, section, value, _ = struct.unpack_from("<I2BH2Q", image, tags[6] + 24 * (info >> 32))
            if info & 0xFFFFFFFF in (8, 1027):  # R_X86_64_RELATIVE, R_AARCH64_RELATIVE
                slots[slot] = addend
            elif section:
                slots[slot] = value + addend
            else:
                slots[slot] = bytes(image[tags[5] + name:]).split(b"\0")[0].decode()
    return segments, slots


def bound(code, segments):
    """{slot: name} that Mach-O's opcodes for dyld bind."""
    i, at, name, found = 0, 0, "", {}
    while i < len(code):
        op, low, i = code[i] & 0xF0, code[i] & 15, i + 1
        if op == 0x40:
            end = code.index(b"\0", i)
            name, i = code[i:end].decode().removeprefix("_"), end + 1
        elif op == 0x70:
            offset, i = uleb(code, i)
            at = segments[low][0] + offset
        elif op == 0x80:
            step, i = uleb(code, i)
            at = (at + step) % 2**64
        elif op == 0x90:
            found[at], at = name, at + 8
        else:
            assert op in (0, 0x10, 0x30, 0x50), f"opcode {op:#x} does not occur in a library as small as this"
    return found


def macho_parts(data):
    """Likewise. At address 0, for which it is linked, nothing is rebased."""
    at, segments, slots = 32, [], {}
    for _ in range(struct.unpack_from("<I", data, 16)[0]):
        command, size = struct.unpack_from("<2I", data, at)
        if command == 0x19:  # LC_SEGMENT_64
            address, room, offset, length = struct.unpack_from("<4Q", data, at + 24)
            segments.append((address, data[offset:offset + length], room))
        elif command in (0x22, 0x80000022):  # LC_DYLD_INFO: bind, weak bind, lazy bind
            for where, length in (struct.unpack_from("<2I", data, at + i) for i in (16, 24, 32)):
                slots |= bound(data[where:where + length], segments)
        at += size
    return segments, slots


def pe_parts(data):
    """Likewise. What it imports, only Windows's start-up calls, which is not run."""
    start, = struct.unpack_from("<I", data, 60)
    count, = struct.unpack_from("<H", data, start + 6)
    optional, = struct.unpack_from("<H", data, start + 20)
    base, = struct.unpack_from("<Q", data, start + 48)
    heads = [struct.unpack_from("<4I", data, start + 24 + optional + 40 * i + 8) for i in range(count)]
    return [(base + virtual, data[raw:raw + min(size, length)], size) for size, virtual, length, raw in heads], {}


PARTS = {"ELF": elf_parts, "Mach-O": macho_parts, "PE": pe_parts}


class Library:
    """The functions of a library for one machine; `data` is not a universal file's."""
    def __init__(self, data):
        kind, found = exports(data)
        (self.machine, self.names), = found.items()
        self.is_arm, self.registers = self.machine == "arm64", ARM if self.machine == "arm64" else WINDOWS if kind == "PE" else UNIX
        self.u = Uc(UC_ARCH_ARM64, UC_MODE_ARM) if self.is_arm else Uc(UC_ARCH_X86, UC_MODE_64)
        if self.is_arm:
            self.u.ctl_set_cpu_model(arm.UC_CPU_ARM64_MAX)  # the default, a Cortex-A57, lacks the dot products of every Mac
            self.u.reg_write(arm.UC_ARM64_REG_CPACR_EL1, 3 << 20)  # an operating system allows NEON
        segments, slots = PARTS[kind](data)
        low, high = min(a for a, _, _ in segments) // PAGE * PAGE, max(a + max(len(d), room) for a, d, room in segments)
        self.u.mem_map(low, -(-(high - low) // PAGE) * PAGE)
        for place in (STUBS, STACK):
            self.u.mem_map(place, 1 << 20)
        self.u.mem_map(HEAP, 1 << 24)
        for address, some, _ in segments:
            self.u.mem_write(address, some)
        self.u.mem_write(STUBS, b"\xc0\x03\x5f\xd6" * 256 if self.is_arm else b"\xc3" * 1024)  # ret
        self.imported, self.end = sorted({name for name in slots.values() if isinstance(name, str)}), HEAP
        for slot, what in slots.items():
            self.u.mem_write(slot, struct.pack("<Q", STUBS + 16 + 16 * self.imported.index(what) if isinstance(what, str) else what))
        self.u.hook_add(UC_HOOK_CODE, self._of_c, begin=STUBS + 16, end=STUBS + 1023)

    def _of_c(self, u, address, size, _):
        """A function of the C library."""
        a, b, n = (u.reg_read(r) for r in self.registers[:3])
        name, result = self.imported[(address - STUBS) // 16 - 1], a
        if name in ("memcpy", "memmove"):
            u.mem_write(a, bytes(u.mem_read(b, n)))
        elif name == "memset":
            u.mem_write(a, bytes([b & 255]) * n)
        elif name in ("bzero", "__bzero"):
            u.mem_write(a, bytes(b))
        else:
            raise AssertionError(f"{name} is not a function that the engine may need")
        u.reg_write(ARM[0] if self.is_arm else x86.UC_X86_REG_RAX, result)

    def put(self, data):
        """Bytes in its memory, at a multiple of 64."""
        at, self.end = self.end, self.end + -(-len(data) // 64) * 64 + 64
        self.u.mem_write(at, bytes(data))
        return at

    def call(self, name, *arguments):
        """A function's int."""
        stack = STACK + (1 << 19)
        for register, value in zip(self.registers, arguments):
            self.u.reg_write(register, value)
        if self.is_arm:
            self.u.reg_write(arm.UC_ARM64_REG_LR, STUBS)
            self.u.reg_write(arm.UC_ARM64_REG_SP, stack)
        else:
            more = arguments[len(self.registers):]
            self.u.mem_write(stack - 8, struct.pack(f"<Q32x{len(more)}Q", STUBS, *more))  # the address to return to, Windows's shadow space
            self.u.reg_write(x86.UC_X86_REG_RSP, stack - 8)
        self.u.emu_start(self.names[name], STUBS)
        return self.u.reg_read(arm.UC_ARM64_REG_W0 if self.is_arm else x86.UC_X86_REG_EAX)

    def run(self, file, arena_bytes, images, outputs):
        """int8 (N, outputs): what the engine in it computes."""
        model, address, arena, answer = self.put(bytes(8)), self.put(file), self.put(bytes(arena_bytes)), self.put(bytes(8))
        assert self.call("mbn_open", model, address, len(file), arena, arena_bytes, 0) == 0 == self.call("mbn_verify", address, len(file))
        opened, = struct.unpack("<Q", self.u.mem_read(model, 8))
        found = []
        for image in images:
            assert self.call("mbn_run", opened, self.put(image.tobytes()), answer) == 0
            found.append(np.frombuffer(self.u.mem_read(*struct.unpack("<Q", self.u.mem_read(answer, 8)), outputs), np.int8))
        return np.stack(found)
