"""A folder for an OpenMV camera, run with modules that stand for the camera's."""
import numpy as np
import pytest
from micropython_board import needs_unix_port
from openmv_camera import run_camera
from small_firmware import NAMES, spotter

from mobilenet_keras.mcu.openmv import export_openmv
from mobilenet_keras.preprocessing import Preprocessing
from mobilenet_keras.tflite.builder import example
from mobilenet_keras.tflite.prediction import IOSpec

pytestmark = needs_unix_port


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_openmv(tmp_path, order):
    """The script runs; what it hands to `ml` are the very bytes of training, and `ml` answers with TFLM's."""
    model = example().with_metadata(list("abcde"), Preprocessing(33, 31, mean=120, std=64, order=order))
    paths = export_openmv(model, tmp_path)
    assert [p.name for p in paths] == ["model.tflite", "photo.raw", "model.txt", "README.md", "main.py", "NOTICE"]
    frame = np.random.default_rng(0).integers(0, 256, (33, 31, 3), np.uint8)
    printed, answer = run_camera(tmp_path, model, frame)
    said, best = printed.splitlines(), "abcde"[int(np.argmax(answer))]
    assert said[:3] == ["built-in photo: as on the computer", "pixels RGB565", "window (225, 240)"]
    assert [line.split()[0] for line in said[3:]] == [best, best] and said[3].endswith("12.5 fps")
    assert "peaks" not in (tmp_path / "main.py").read_text()
    assert "NOT as on the computer" in run_camera(tmp_path, model, frame, wrong=True)[0]


def test_openmv_finds_things(tmp_path):
    model = spotter().with_metadata(preprocessing=Preprocessing(26, 20, mean=120, std=64))
    export_openmv(model, tmp_path)
    printed, answer = run_camera(tmp_path, model, np.random.default_rng(1).integers(0, 256, (26, 20, 3), np.uint8))
    io = IOSpec.of(model)
    found = io.prediction(None, [np.array(answer, np.int8).reshape(1, *io.outputs[0].shape)], "tflm").found
    wanted = [f"{NAMES[i]} {s:.2f} at x {x:.3f}, y {y:.3f}" for i, s, (x, y) in zip(found.labels, found.scores, found.centers)]
    one = [f"found {len(found)} 12.5 fps", *wanted[:10]]
    assert printed.replace("\r", "").split("\n")[3:-1] == one * 2 and len(found) > 3
