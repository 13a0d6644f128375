"""Boards' disks, as other systems mount them."""
import ctypes
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from flash_images import INFO, boot_disk

from mobilenet_keras.mcu import volumes


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_disks_of_other_systems(tmp_path, monkeypatch, system):
    """macOS mounts below /Volumes; Windows knows letters: here C and E, which is the board."""
    idle = boot_disk(tmp_path / "idle")
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(volumes, "_VOLUMES", idle.parent)
    monkeypatch.setattr(ctypes, "windll", SimpleNamespace(kernel32=SimpleNamespace(GetLogicalDrives=lambda: 0b10100)), raising=False)
    if system == "win32":
        assert [str(p) for p in volumes._mounts()] == ["C:\\", "E:\\"]
        text = {"E:\\/INFO_UF2.TXT": INFO["rp2350"]}
        monkeypatch.setattr(Path, "read_text", lambda self, **more: text.get(str(self)) or self.read_bytes().decode())
    (found,) = volumes.volumes()
    assert (str(found.path), found.board) == (("E:\\", "pico2") if system == "win32" else (str(idle), "pico"))


def test_names_are_escaped_in_proc_mounts(monkeypatch):
    lines = "proc /proc proc rw 0 0\n/dev/sdb1 /media/jörg/RPI\\040RP2 vfat rw 0 0\n"
    monkeypatch.setattr(Path, "read_text", lambda self, **more: lines)
    monkeypatch.setattr(sys, "platform", "linux")
    assert volumes._mounts() == [Path("/media/jörg/RPI RP2")]
