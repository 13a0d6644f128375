"""Folders of photos as people have them: hidden copies, odd names, broken files."""
import os

import numpy as np
import pytest
from PIL import Image

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.data import Photos
from mobilenet_keras.preprocessing import Preprocessing


@pytest.fixture
def folder(tmp_path):
    """Two classes of ten photos."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(10):
            Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(tmp_path / name / f"{name}{i}.png")
    return tmp_path


def read(folder):
    """All files that `Photos.from_folder` used."""
    photos = Photos.from_folder(folder, image_size=16)
    return photos, [p for part in (photos.train, photos.validation, photos.test) for p in part.paths]


def test_hidden_folders_are_hidden(folder):
    for hidden in (".ipynb_checkpoints", "__MACOSX"):
        (folder / "cat" / hidden).mkdir()
        (folder / "cat" / hidden / "cat0.png").write_bytes((folder / "cat/cat0.png").read_bytes())
    photos, used = read(folder)
    assert len(used) == 20 and photos.classes == ["cat", "dog"]


def test_odd_file_names_and_broken_files(folder):
    """A superscript two is a digit to some; a DDS file with unknown flags raises what no image should."""
    os.rename(folder / "cat/cat0.png", folder / "cat/1²2.png")
    (folder / "dog/broken.dds").write_bytes(b"DDS " + (124).to_bytes(4, "little") + bytes(68) + (32).to_bytes(4, "little") + b"\x80" + bytes(60))
    (folder / "dog/empty.jpg").write_bytes(b"")
    photos, used = read(folder)
    assert len(used) == 20 and len(photos.skipped) == 2


def test_the_split_does_not_depend_on_the_order_of_the_file_system(folder, monkeypatch):
    first = read(folder)[1]
    real = os.walk
    monkeypatch.setattr(os, "walk", lambda *a, **k: ((here, below[::-1], files[::-1]) for here, below, files in real(*a, **k)))
    assert read(folder)[1] == first


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_can_not_be_read_is_told(folder):
    (folder / "cat/locked").mkdir(mode=0)
    with pytest.raises(MobileNetError, match="locked can't be read"):
        read(folder)


@pytest.mark.parametrize("mode,size,wanted", [("1", (9, 9), 255), ("LA", (9, 9), None), ("CMYK", (9, 9), None), ("I;16", (9, 9), None),
                                              ("P", (1, 1), None), ("RGBA", (300, 1), None)])
def test_every_kind_of_photo_becomes_pixels(mode, size, wanted, tmp_path):
    image = Image.new(mode, size, 1 if mode == "1" else 0)
    image.save(tmp_path / "a.tif" if mode in ("CMYK", "I;16") else tmp_path / "a.png")
    pixels = Preprocessing(16, 16).pixels(next(tmp_path.iterdir()))
    assert pixels.shape == (16, 16, 3) and pixels.dtype == np.uint8 and (wanted is None or (pixels == wanted).all())


def test_a_photo_of_floats_is_refused(tmp_path):
    Image.fromarray(np.linspace(0, 1, 81, dtype=np.float32).reshape(9, 9)).save(tmp_path / "a.tif")
    with pytest.raises(MobileNetError, match="floating-point"):
        Preprocessing(16, 16).pixels(tmp_path / "a.tif")
