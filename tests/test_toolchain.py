"""The compiler and what it keeps."""
import pytest
from small_firmware import small_data

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.mcu import firmware
from mobilenet_keras.mcu.target import targets
from mobilenet_keras.mcu.toolchain import run_compiler


def test_what_is_the_same_for_every_model_is_compiled_once(tmp_path, monkeypatch):
    """Engine and board are kept in the user's cache, the model's arrays are not; a cache that can't be written is done without."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("ZIG_LOCAL_CACHE_DIR", raising=False)
    kept = lambda: {p.relative_to(tmp_path): p.stat().st_mtime_ns for p in (tmp_path / "cache").rglob("*.o")}  # noqa: E731
    images = [firmware.link(targets()["pico"], small_data("pico")).flat()]
    before = kept()
    assert len(before) >= 8 and sum(p.stat().st_size for p in (tmp_path / "cache").rglob("*") if p.is_file()) < 1_000_000
    other = small_data("pico").replace("app_photo[765] __attribute__((aligned(8))) = {\n  0,", "app_photo[765] __attribute__((aligned(8))) = {\n  7,")
    changed = firmware.link(targets()["pico"], other).flat()
    assert kept() == before and changed != images[0]
    (tmp_path / "file").touch()
    for cache in (str(tmp_path / "cache"), str(tmp_path / "file/cannot/be")):
        monkeypatch.setenv("XDG_CACHE_HOME", cache)
        images.append(firmware.link(targets()["pico"], small_data("pico")).flat())
    assert images[0] == images[1] == images[2]


def test_a_compiler_that_says_nothing(tmp_path):
    with pytest.raises(MobileNetError, match="false failed: exit code 1, and it printed nothing. The command: /bin/false -c x.c"):
        run_compiler(["/bin/false", "-c", "x.c"], tmp_path)
