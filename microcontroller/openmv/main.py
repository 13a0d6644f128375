# @NAME@ on an OpenMV camera, by its own `ml` module, which is TensorFlow Lite Micro. Written by mobilenet-keras @VERSION@.
# Copy this folder's files onto the camera's disk and restart it. Untested on hardware.
import time

import csi
import micropython
import ml
from ml.preprocessing import Normalization

TABLE = None  # what the values 0 to 255 of a pixel become, 256 for each channel; None: what OpenMV makes of them
BLUE_FIRST = False  # in the model's input
EXPECTED = b""  # TFLM's bytes for photo.raw, computed by TFLM itself when this file was written
PIXELS = "RGB565"
WINDOW = (240, 240)  # the middle of the picture, in the model's shape


@micropython.viper
def prepare(values: ptr8, table: ptr8, channels: int, flip: int, n: int):  # noqa: F821
    """Each value by its channel's table, in place; `flip` undoes what OpenMV does to pixels for an int8 input."""
    i = 0
    while i < n:
        values[i] = table[(i % channels) * 256 + (values[i] ^ flip)]
        i += 1


@micropython.viper
def swap(values: ptr8, n: int):  # noqa: F821
    """Red for blue, in place."""
    i = 0
    while i < n:
        red = values[i]
        values[i] = values[i + 2]
        values[i + 2] = red
        i += 3


class Prepared:
    """A picture as the model's input: scaled by OpenMV, then prepared as in training."""

    def __init__(self, image):
        self.image = image

    def __call__(self, buffer, shape, dtype):
        Normalization()(self.image)(buffer, shape, dtype)
        if BLUE_FIRST:
            swap(buffer, len(buffer))
        if TABLE:
            prepare(buffer, TABLE, shape[3], 0x80 if dtype == ord("b") else 0, len(buffer))


def test_photo(buffer, shape, dtype):
    """The built-in photo, which needs no preparing."""
    with open("photo.raw", "rb") as f:
        f.readinto(buffer)


def scores_of(model, source):
    """The first output, as a list of floats."""
    return model.predict([source])[0].flatten().tolist()


def test(model):
    """Whether the camera computes what TFLM computed on the computer, byte for byte."""
    scale, zero = model.output_scale[0], model.output_zero_point[0]
    return bytes([(round(v / scale) + zero) & 255 for v in scores_of(model, test_photo)]) == EXPECTED


model = ml.Model("model.tflite")  # model.txt beside it has the names
print("built-in photo:", "as on the computer" if test(model) else "NOT as on the computer: other kernels, or a damaged file")

csi0 = csi.CSI()
csi0.reset()
csi0.pixformat(getattr(csi, PIXELS))
csi0.framesize(csi.QVGA)
csi0.window(WINDOW)
csi0.snapshot(time=2000)  # until exposure and white balance have settled

clock = time.clock()
while True:
    clock.tick()
    scores = scores_of(model, Prepared(csi0.snapshot()))
    best = scores.index(max(scores))
    print(model.labels[best] if model.labels else best, f"{scores[best]:.2f}", f"{clock.fps():.1f} fps")
