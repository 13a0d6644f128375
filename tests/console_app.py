"""A console app for this computer: the engine, the console and a board made of two file descriptors, compiled by gcc."""
import os
import shutil
import subprocess

import numpy as np
import pytest
from conftest import ROOT

from mobilenet_keras.engine.mbn import compile_model
from mobilenet_keras.mcu.tflm import c_string

BOARDS, ENGINE = ROOT / "microcontroller/boards", ROOT / "microcontroller/engine"
SANITIZED = ["-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def app_data(model, photo, expected, board="host", version="0.1.0", kind="streamed", row=None):
    """The C file that holds an app's model, arena, photo and names."""
    compiled = compile_model(model, kind)
    data, row = np.frombuffer(compiled.data, np.uint8), int(np.prod(compiled.steps[0].shape[1:])) if row is None else row

    def numbers(values):
        return ", ".join(map(str, values.ravel().tolist()))

    return f"""#include "board.h"
__attribute__((aligned(4))) const uint8_t app_model[] = {{{numbers(data)}}};
const uint32_t app_model_bytes = {len(data)};
__attribute__((aligned(8))) uint32_t app_arena[{compiled.arena // 4}];
const uint32_t app_arena_bytes = sizeof app_arena;
uint32_t app_message[{(8 + row + 3) // 4}];
const uint32_t app_message_bytes = {8 + row};
const int8_t app_photo[] = {{{numbers(photo)}}};
const int8_t app_expected[] = {{{numbers(expected)}}};
const uint32_t app_expected_bytes = {expected.size};
const char app_board[] = {c_string(board)}, app_model_name[] = {c_string(model.name)}, app_version[] = {c_string(version)};
"""


def build(folder, data, *flags):
    """Compile an app for this computer, with every warning an error."""
    if not shutil.which("gcc"):
        pytest.skip("needs gcc")
    (folder / "data.c").write_text(data)
    sources = [BOARDS / "console.c", *ENGINE.rglob("*.c"), ROOT / "tests/console_host.c", folder / "data.c"]
    subprocess.run(["gcc", "-std=gnu99", "-Wall", "-Wextra", "-Werror", *flags, f"-I{ENGINE}", f"-I{BOARDS}", *sources, "-o", folder / "app"],
                   check=True)
    return folder / "app"


class Running:
    """An app behind a pseudo-terminal, whose name is `port`."""

    def __init__(self, app, **environment):
        import pty
        import tty
        self.master, self.slave = pty.openpty()
        tty.setraw(self.slave)
        self.port = os.ttyname(self.slave)
        self.process = subprocess.Popen([app], stdin=self.master, stdout=self.master, stderr=subprocess.PIPE, env={**os.environ, **environment})

    def close(self):
        """The exit code, and what sanitizers said."""
        os.close(self.slave)
        code = self.process.wait(20)
        os.close(self.master)  # not before: the last answer would be lost
        return code, self.process.stderr.read().decode()
