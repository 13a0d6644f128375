"""One small network and its firmware for each board, built once for all tests."""
import functools

from mobilenet_keras.mcu.firmware import build
from mobilenet_keras.tflite.builder import example

SHAPE = (17, 15, 3)
small = functools.cache(lambda: example((1, *SHAPE)))
built = functools.cache(lambda board, cc=None, hot=None: build(small(), board, cc=cc, hot=hot))
