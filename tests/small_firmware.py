"""One small network and its firmware for each board, built once for all tests."""
import functools
import shutil
from dataclasses import replace

import numpy as np
import pytest

from mobilenet_keras.engine.mbn import compile_model
from mobilenet_keras.mcu import firmware
from mobilenet_keras.mcu.elf import Elf
from mobilenet_keras.mcu.firmware import build
from mobilenet_keras.tasks.centroids import Centroids
from mobilenet_keras.tflite.builder import Builder, example

SHAPE = (17, 15, 3)
small = functools.cache(lambda: example((1, *SHAPE)))
NAMES = "ace of spades", "ten\x1b[31m", "Käse"


@functools.cache
def spotter():
    """A map of 13 x 10 cells of three classes, one name with a terminal's orders in it."""
    made = Builder((1, 26, 20, 3), seed=5).conv(8, 3, 2).conv(3).logistic().model("a finder")
    return made.with_metadata(NAMES, task=Centroids(NAMES, .7))


built = functools.cache(lambda board, cc=None, hot=None: build(small(), board, cc=cc, hot=hot))


def small_data(board):
    compiled, image = compile_model(small()), np.zeros(SHAPE, np.int8)
    return firmware.data_source(compiled, board, image, np.zeros(5, np.int8))


QEMU = bool(shutil.which("qemu-system-arm"))


def on(board, emulator):
    if emulator == "qemu" and not QEMU:
        pytest.skip("needs qemu-system-arm")


def patched(firmware, symbol, code, at=0):
    address = (firmware.elf.symbols[symbol][0] & ~1) + at
    offset, data = firmware.elf.offset(address, len(code)), firmware.elf.data
    return replace(firmware, elf=Elf(data[:offset] + code + data[offset + len(code):]))
