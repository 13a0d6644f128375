"""What a shared library is for and gives, read from the headers by which a system's loader reads it: ELF, Mach-O, PE, 64 bits."""
import struct


def text(data, at):
    return data[at:data.index(b"\0", at)].decode()


def uleb(data, i):
    """A number in groups of seven bits, and where it ends."""
    value = shift = 0
    while True:
        value, shift, i = value | (data[i] & 127) << shift, shift + 7, i + 1
        if data[i - 1] < 128:
            return value, i


def elf(data):
    """gABI: the defined symbols of .dynsym."""
    machine, = struct.unpack_from("<H", data, 18)
    sections_at, = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<2H", data, 58)
    sections = [struct.unpack_from("<2I4Q2I2Q", data, sections_at + i * size) for i in range(count)]
    (_, _, _, _, at, length, names, *_), = (s for s in sections if s[1] == 11)  # SHT_DYNSYM
    symbols = [struct.unpack_from("<I2BHQ", data, i) for i in range(at, at + length, 24)]
    strings = sections[names][4]
    return {{62: "x86_64", 183: "arm64"}[machine]: {text(data, strings + name): value for name, _, _, section, value in symbols if section}}


def trie(data, at, node=0, prefix=""):
    """(name, address) in a Mach-O file's trie of exports: edges of text; before them a node's own flags and address, if it is a name."""
    size, i = uleb(data, at + node)
    if size:
        yield prefix, uleb(data, uleb(data, i)[1])[0]
    count, i = data[i + size], i + size + 1
    for _ in range(count):
        edge = text(data, i)
        child, i = uleb(data, i + len(edge) + 1)
        yield from trie(data, at, child, prefix + edge)


def macho(data):
    """loader.h: what the loader finds by name, without the underscore of C."""
    _, cpu, _, _, count = struct.unpack_from("<5I", data)
    at, names, signed = 32, {}, False
    for _ in range(count):
        command, size = struct.unpack_from("<2I", data, at)
        if command in (0x22, 0x80000022):  # LC_DYLD_INFO: its trie of exports is the last of five tables
            names = dict(trie(data, struct.unpack_from("<I", data, at + 40)[0]))
        elif command == 0x80000033:  # LC_DYLD_EXPORTS_TRIE
            names = dict(trie(data, struct.unpack_from("<I", data, at + 8)[0]))
        signed |= command == 0x1D  # LC_CODE_SIGNATURE
        at += size
    assert signed or cpu == 0x01000007, "macOS kills what is not signed on arm64"
    return {{0x01000007: "x86_64", 0x0100000C: "arm64"}[cpu]: {name.removeprefix("_"): place for name, place in names.items()}}


def parts(data):
    """fat.h: the Mach-O files in one."""
    spans = [struct.unpack_from(">2I", data, 16 + 20 * i) for i in range(struct.unpack_from(">I", data, 4)[0])]
    return [data[at:at + size] for at, size in spans]


def fat(data):
    """All of them."""
    return {machine: names for part in parts(data) for machine, names in macho(part).items()}


def pe(data):
    """The table of exported names, by the PE format's specification."""
    start, = struct.unpack_from("<I", data, 60)
    machine, count = struct.unpack_from("<2H", data, start + 4)
    optional, = struct.unpack_from("<H", data, start + 20)
    sections = [struct.unpack_from("<4I", data, start + 24 + optional + 40 * i + 8) for i in range(count)]

    def place(address):
        return next(address - virtual + raw for _, virtual, size, raw in sections if virtual <= address < virtual + size)
    exports = place(struct.unpack_from("<I", data, start + 24 + 112)[0])
    base, = struct.unpack_from("<Q", data, start + 48)
    number, functions, names, ordinals = struct.unpack_from("<4I", data, exports + 24)
    found = {}
    for i in range(number):
        name, = struct.unpack_from("<I", data, place(names) + 4 * i)
        ordinal, = struct.unpack_from("<H", data, place(ordinals) + 2 * i)
        found[text(data, place(name))] = base + struct.unpack_from("<I", data, place(functions) + 4 * ordinal)[0]
    return {{0x8664: "x86_64", 0xAA64: "arm64"}[machine]: found}


READERS = {b"\x7fELF": ("ELF", elf), b"\xcf\xfa\xed\xfe": ("Mach-O", macho), b"\xca\xfe\xba\xbe": ("Mach-O", fat), b"MZ": ("PE", pe)}


def exports(data):
    """(format, {machine: {name: address}})."""
    name, reader = next(found for magic, found in READERS.items() if data.startswith(magic))
    return name, reader(data)
