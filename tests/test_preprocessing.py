"""Photos of every kind become a network's input."""
import sys

import numpy as np
import pytest
from helpers import randomized
from PIL import Image

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.preprocessing import Preprocessing


def test_preprocessing_equals_keras(tensorflow):
    import keras
    x = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    ours = Preprocessing.preset("keras", 32)(x)
    np.testing.assert_allclose(ours, keras.applications.mobilenet.preprocess_input(x.astype(np.float32)), atol=1e-6)


def test_include_preprocessing_takes_raw_photos(tensorflow):
    from mobilenet_keras.networks.models import MobileNetV1
    plain, inside = MobileNetV1(.25, (32, 32, 3), classes=3), MobileNetV1(.25, (32, 32, 3), classes=3, include_preprocessing=True)
    randomized(plain)
    inside.set_weights(plain.get_weights())
    x = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    a, b = (np.asarray(net(net.preprocessing(x), training=False)) for net in (plain, inside))
    np.testing.assert_allclose(a, b, atol=1e-5)
    np.testing.assert_allclose(np.asarray(inside(x.astype(np.float32), training=False)), b, atol=1e-6)


@pytest.mark.parametrize("mode,size,wanted", [("1", (9, 9), 255), ("LA", (9, 9), None), ("CMYK", (9, 9), None), ("I;16", (9, 9), None),
                                              ("P", (1, 1), None), ("RGBA", (300, 1), None)])
def test_every_kind_of_photo_becomes_pixels(mode, size, wanted, tmp_path):
    image = Image.new(mode, size, 1 if mode == "1" else 0)
    image.save(tmp_path / "a.tif" if mode in ("CMYK", "I;16") else tmp_path / "a.png")
    pixels = Preprocessing(16, 16).pixels(next(tmp_path.iterdir()))
    assert pixels.shape == (16, 16, 3) and pixels.dtype == np.uint8 and (wanted is None or (pixels == wanted).all())


def test_a_photo_of_floats_is_refused(tmp_path):
    Image.fromarray(np.linspace(0, 1, 81, dtype=np.float32).reshape(9, 9)).save(tmp_path / "a.tif")
    with pytest.raises(MobileNetError, match="a.tif can't be used: it holds floating-point"):
        Preprocessing(16, 16).pixels(tmp_path / "a.tif")


def heic(path, size=(48, 32)):
    """The header of a HEIC file (ISO/IEC 23008-12), which is all that tells it."""
    path.write_bytes((24).to_bytes(4, "big") + b"ftypheic" + bytes(4) + b"mif1heic" + bytes(200))
    return path


def test_a_heic_photo_names_its_extra(tmp_path, monkeypatch):
    from mobilenet_keras.core import MissingExtra
    from mobilenet_keras.preprocessing import open_photo
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(MissingExtra, match=r'IMG_1.heic is a HEIC photo.*pip install "mobilenet-keras\[heic\]"'):
        open_photo(heic(tmp_path / "IMG_1.heic"))


def test_a_heic_photo_is_read_upright(tmp_path):
    """Blue above red, as libheif's own encoder writes it, turned by its orientation."""
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs the extra [heic]")
    photo = Image.new("RGB", (64, 32), "red")
    photo.paste("blue", (0, 0, 32, 32))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise: its left becomes its top
    pillow_heif.from_pillow(photo).save(tmp_path / "a.heic", quality=90, exif=exif.tobytes())
    pixels = Preprocessing(16, 8).pixels(tmp_path / "a.heic")
    assert pixels[2, 4].argmax() == 2 and pixels[13, 4].argmax() == 0
    with pytest.raises(MobileNetError, match="b.heic is not an image|b.heic is broken"):
        Preprocessing(16, 8).pixels(heic(tmp_path / "b.heic"))
