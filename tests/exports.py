"""What a shared library is for and gives, read from the headers by which a system's loader reads it: ELF, Mach-O, PE, 64 bits."""
import struct


def text(data, at):
    return data[at:data.index(b"\0", at)].decode()


def elf(data):
    """gABI: the defined symbols of .dynsym."""
    machine, = struct.unpack_from("<H", data, 18)
    sections_at, = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<2H", data, 58)
    sections = [struct.unpack_from("<2I4Q2I2Q", data, sections_at + i * size) for i in range(count)]
    (_, _, _, _, at, length, names, *_), = (s for s in sections if s[1] == 11)  # SHT_DYNSYM
    symbols = [struct.unpack_from("<I2BH", data, i) for i in range(at, at + length, 24)]
    return {{62: "x86_64", 183: "arm64"}[machine]: {text(data, sections[names][4] + name) for name, _, _, section in symbols if section}}


def trie(data, at, prefix=""):
    """The names of a Mach-O file's trie of exports: edges of text, and a node's own size before them, if it is a name."""
    def uleb(i):
        value = shift = 0
        while True:
            value, shift, i = value | (data[i] & 127) << shift, shift + 7, i + 1
            if data[i - 1] < 128:
                return value, i

    def below(i, prefix):
        size, i = uleb(at + i)
        if size:
            yield prefix
        count, i = data[i + size], i + size + 1
        for _ in range(count):
            edge = text(data, i)
            child, i = uleb(i + len(edge) + 1)
            yield from below(child, prefix + edge)
    return set(below(0, prefix))


def macho(data):
    """loader.h: what the loader finds by name, without the underscore of C."""
    _, cpu, _, _, count = struct.unpack_from("<5I", data)
    at, names, signed = 32, set(), False
    for _ in range(count):
        command, size = struct.unpack_from("<2I", data, at)
        if command in (0x22, 0x80000022):  # LC_DYLD_INFO: its trie of exports is the last of five tables
            names = trie(data, struct.unpack_from("<I", data, at + 40)[0])
        elif command == 0x80000033:  # LC_DYLD_EXPORTS_TRIE
            names = trie(data, struct.unpack_from("<I", data, at + 8)[0])
        signed |= command == 0x1D  # LC_CODE_SIGNATURE
        at += size
    assert signed or cpu == 0x01000007, "macOS kills what is not signed on arm64"
    return {{0x01000007: "x86_64", 0x0100000C: "arm64"}[cpu]: {name.removeprefix("_") for name in names}}


def fat(data):
    """fat.h: the Mach-O files in one."""
    found = {}
    for i in range(struct.unpack_from(">I", data, 4)[0]):
        at, size = struct.unpack_from(">2I", data, 16 + 20 * i)
        found |= macho(data[at:at + size])
    return found


def pe(data):
    """The table of exported names, by the PE format's specification."""
    start, = struct.unpack_from("<I", data, 60)
    machine, count = struct.unpack_from("<2H", data, start + 4)
    optional, = struct.unpack_from("<H", data, start + 20)
    sections = [struct.unpack_from("<4I", data, start + 24 + optional + 40 * i + 8) for i in range(count)]

    def place(address):
        return next(address - virtual + raw for _, virtual, size, raw in sections if virtual <= address < virtual + size)
    exports = place(struct.unpack_from("<I", data, start + 24 + 112)[0])
    number, = struct.unpack_from("<I", data, exports + 24)
    names = place(struct.unpack_from("<I", data, exports + 32)[0])
    return {{0x8664: "x86_64", 0xAA64: "arm64"}[machine]: {text(data, place(name)) for name in struct.unpack_from(f"<{number}I", data, names)}}


READERS = {b"\x7fELF": ("ELF", elf), b"\xcf\xfa\xed\xfe": ("Mach-O", macho), b"\xca\xfe\xba\xbe": ("Mach-O", fat), b"MZ": ("PE", pe)}


def exports(data):
    """(format, {machine: names})."""
    name, reader = next(found for magic, found in READERS.items() if data.startswith(magic))
    return name, reader(data)
