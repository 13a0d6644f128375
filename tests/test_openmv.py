"""A folder for an OpenMV camera, run with modules that stand for the camera's."""
import json
import zlib

import numpy as np
import pytest
from micropython_board import needs_unix_port, run_script

from mobilenet_keras.mcu.openmv import export_openmv
from mobilenet_keras.preprocessing import Preprocessing
from mobilenet_keras.tflite.builder import example

pytestmark = needs_unix_port

CAMERA = """
import sys, os, binascii, json
class Image: pass
class Array(list):
    def flatten(self): return self
    def tolist(self): return list(self)
class CSI:
    frames = 0
    def reset(self): pass
    def pixformat(self, f): print('pixels', f)
    def framesize(self, f): pass
    def window(self, w): print('window', w)
    def snapshot(self, time=0):
        CSI.frames += time == 0
        if CSI.frames > 2: raise SystemExit
        return Image()
class Normalization:
    def __call__(self, *a):
        if len(a) == 1: return Normalization()
        f = open('frame', 'rb')
        f.readinto(a[0])
        for i in range(len(a[0])): a[0][i] ^= 0x80
class Model:
    def __init__(self, path):
        self.labels = [line.rstrip('\\n') for line in open(path.split('.')[0] + '.txt')]
        self.output_scale, self.output_zero_point = [1 / 256], [-128]
    def predict(self, args):
        tensor = bytearray(33 * 31 * 3)
        args[0](tensor, (1, 33, 31, 3), ord('b'))
        answer = json.load(open('answers'))[str(binascii.crc32(tensor))]
        return [Array([(q + 128) / 256 for q in answer])]
class Clock:
    def tick(self): pass
    def fps(self): return 12.5
def module(name, **members):
    sys.modules[name] = m = type(name, (), {})
    for k in members: setattr(m, k, members[k])
module('csi', CSI=CSI, RGB565='RGB565', GRAYSCALE='GRAYSCALE', QVGA='QVGA')
module('ml', Model=Model)
module('ml.preprocessing', Normalization=Normalization)
sys.modules['ml'].preprocessing = sys.modules['ml.preprocessing']
module('time', clock=Clock)
exec(open('main.py').read())
"""


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_openmv(tmp_path, order):
    """The script runs; what it hands to `ml` are the very bytes of training, and `ml` answers with TFLM's."""
    from tflite_micro import runtime
    rule = Preprocessing(33, 31, mean=120, std=64, order=order)
    model = example().with_metadata(list("abcde"), rule)
    paths = export_openmv(model, tmp_path)
    assert [p.name for p in paths] == ["model.tflite", "photo.raw", "model.txt", "README.md", "main.py", "NOTICE"]
    frame = np.random.default_rng(0).integers(0, 256, (33, 31, 3), np.uint8)
    (tmp_path / "frame").write_bytes(frame.tobytes())
    x, answers = model.inputs[0], {}
    seen, built_in = rule.quantize(frame[None], x.scale[0], x.zero_point[0]), np.fromfile(tmp_path / "photo.raw", np.int8).reshape(x.shape)
    for q in (seen, built_in):
        judge = runtime.Interpreter.from_bytes(model.data)
        judge.set_input(q, 0)
        judge.invoke()
        answers[zlib.crc32(q.tobytes())] = judge.get_output(0).ravel().tolist()
    (tmp_path / "answers").write_text(json.dumps(answers))
    said = run_script(tmp_path, CAMERA).splitlines()
    best = "abcde"[int(np.argmax(answers[zlib.crc32(seen.tobytes())]))]
    assert said[:3] == ["built-in photo: as on the computer", "pixels RGB565", "window (225, 240)"]
    assert [line.split()[0] for line in said[3:]] == [best, best] and said[3].endswith("12.5 fps")
    answers = {k: [0] * 5 for k in answers}
    (tmp_path / "answers").write_text(json.dumps(answers))
    assert "NOT as on the computer" in run_script(tmp_path, CAMERA)
