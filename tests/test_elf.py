"""Images of programs: UF2, Intel HEX and what the boot ROMs look for, against other people's readers."""
import shutil
import subprocess

import numpy as np
import pytest
from adafruit_uf2 import uf2conv
from flash_images import RP2040, contents, write
from small_firmware import built

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.mcu.elf import intel_hex, open_image, read_hex, read_uf2, uf2


def test_adafruits_uf2_is_read_and_ours_is_read_by_it(monkeypatch):
    data = contents()
    monkeypatch.setattr(uf2conv, "familyid", RP2040)
    monkeypatch.setattr(uf2conv, "appstartaddr", 0x10000000)
    (address, read), = read_uf2(theirs := uf2conv.convert_to_uf2(data))[0]
    assert address == 0x10000000 and read[:len(data)] == data and read_uf2(theirs)[1] == RP2040
    assert uf2conv.convert_from_uf2(uf2(0x10000000, data, RP2040))[:len(data)] == data


def test_objcopys_hex_is_read(tmp_path):
    if not shutil.which("objcopy"):
        pytest.skip("needs objcopy")
    data = np.random.default_rng(0).bytes(200_001)
    write(tmp_path / "x.bin", data)
    for address in (0, 0x0800FFF0, 0x10000000):
        subprocess.run(["objcopy", "-I", "binary", "-O", "ihex", f"--change-addresses={address}", tmp_path / "x.bin", tmp_path / "x.hex"], check=True)
        assert read_hex((tmp_path / "x.hex").read_bytes()) == ((address, data),)


def test_damaged_images_are_refused_or_harmless(tmp_path):
    """A turned over bit or a cut: an error, or an image whose model is still whole."""
    rng = np.random.default_rng(0)
    good = {"uf2": uf2(0x10000000, contents(), RP2040), "hex": intel_hex(0x10000000, contents())}
    refused = 0
    for kind, data in good.items():
        for i in range(150):
            bad = bytearray(data)
            if i % 3:
                bad[rng.integers(len(bad))] ^= 1 << int(rng.integers(8))
            else:
                del bad[int(rng.integers(len(bad))):]
            try:
                app = open_image(write(tmp_path / f"x.{kind}", bytes(bad))).app
                assert app is None or app.intact
            except MobileNetError:
                refused += 1
    assert refused > 150


def test_the_rp2350_finds_its_image_definition():
    start, image = built("pico2").elf.flat()
    block = np.frombuffer(image[:4096], "<u4").tolist()
    at = block.index(0xffffded3)
    assert start == 0x10000000 and block[at:at + 5] == [0xffffded3, 0x10210142, 0x1ff, 0, 0xab123579]


@pytest.mark.parametrize("board, family", [("pico", 0xe48bff56), ("pico2", 0xe48bff59)])
def test_uf2(board, family):
    raw, (start, image) = built(board).image("uf2"), built(board).elf.flat()
    blocks = np.frombuffer(raw, "<u4").reshape(-1, 128)
    assert (blocks[:, [0, 1, 2, 4, 6, 7, 127]] == [0x0a324655, 0x9e5d5157, 0x2000, 256, len(blocks), family, 0x0ab16f30]).all()
    assert (blocks[:, 3] == start + 256 * np.arange(len(blocks))).all() and (blocks[:, 5] == np.arange(len(blocks))).all()
    assert blocks[:, 8:72].tobytes()[:len(image)] == image


def test_hex():
    lines, memory, high = built("microbit").image("hex").decode().split(), {}, 0
    for line in lines:
        raw = bytes.fromhex(line[1:])
        assert line[0] == ":" and sum(raw) % 256 == 0 and len(raw) == raw[0] + 5
        if raw[3] == 4:
            high = int.from_bytes(raw[4:6], "big") << 16
        if raw[3] == 0:
            memory |= {high + int.from_bytes(raw[1:3], "big") + i: b for i, b in enumerate(raw[4:-1])}
    start, image = built("microbit").elf.flat()
    assert raw[3] == 1 and bytes(memory[start + i] for i in range(len(image))) == image and len(memory) == len(image)
