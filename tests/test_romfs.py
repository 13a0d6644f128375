"""ROMFS images, read by MicroPython."""
import ast
import zlib

import numpy as np
import pytest
from micropython_board import needs_unix_port, run_script

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.mcu.romfs import romfs

pytestmark = needs_unix_port


def test_romfs_is_read_by_micropython(tmp_path):
    """Every length around the borders of the format's numbers, every length of name; MicroPython reads it, 4-aligned."""
    rng = np.random.default_rng(0)
    sizes = 0, 1, 2, 3, 4, 126, 127, 128, 129, 255, 16383, 16384, 16385, 70001
    files = {f"{'n' * (i % 17 + 1)}{i}": rng.bytes(n) for i, n in enumerate(sizes)}
    (tmp_path / "image").write_bytes(romfs(files))
    said = run_script(tmp_path, """
import vfs, uctypes, binascii
image = bytearray(open('image', 'rb').read())
rom = vfs.VfsRom(image)
vfs.mount(rom, '/rom')
found = {}
for name, _, _, size in rom.ilistdir('/'):
    f = open('/rom/' + name, 'rb')
    found[name] = size, uctypes.addressof(memoryview(f)) % 4 if size else 0, binascii.crc32(f.read())
print(found)
""")
    assert ast.literal_eval(said) == {n: (len(d), 0, zlib.crc32(d)) for n, d in files.items()}
    for name in ("a/b", "", "ü", "n" * 101):
        with pytest.raises(MobileNetError, match="1 to 100 ASCII"):
            romfs({name: b""})
