"""An OpenMV camera for tests and pages: modules that stand for its own, on MicroPython's unix port, and TensorFlow Lite Micro for its `ml`."""
import json
import zlib

import numpy as np
from micropython_board import run_script

STAND_IN = """
import sys, os, binascii, json
SHAPE, answers = json.load(open('answers'))
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
        tensor = bytearray(SHAPE[1] * SHAPE[2] * SHAPE[3])
        args[0](tensor, tuple(SHAPE), ord('b'))
        return [Array([(q + 128) / 256 for q in answers[str(binascii.crc32(tensor))]])]
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


def run_camera(folder, model, frame, wrong=False):
    """What an exported folder's main.py prints for two frames of one picture, uint8 (height, width, 3); and TFLM's bytes for that picture.

    The camera's `ml` answers for the very bytes of training alone: other ones end the script. `wrong`: it computes something else.
    """
    from tflite_micro import runtime
    x, answers = model.inputs[0], {}
    seen = model.preprocessing.quantize(frame[None], x.scale[0], x.zero_point[0])
    for q in (seen, np.fromfile(folder / "photo.raw", np.int8).reshape(x.shape)):
        judge = runtime.Interpreter.from_bytes(model.data)
        judge.set_input(q, 0)
        judge.invoke()
        answers[zlib.crc32(q.tobytes())] = judge.get_output(0).ravel().tolist()
    (folder / "frame").write_bytes(frame.tobytes())
    (folder / "answers").write_text(json.dumps([[int(n) for n in x.shape], {k: [0] * len(v) for k, v in answers.items()} if wrong else answers]))
    return run_script(folder, STAND_IN), answers[zlib.crc32(seen.tobytes())]
