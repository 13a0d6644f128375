"""What all tests share: where the real photos and models lie, a package index, quiet TensorFlow."""
import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as the library does where it imports TensorFlow first
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

with contextlib.suppress(ImportError):  # before any test module imports TensorFlow: in the other order it crashes
    import tflite_runtime.interpreter  # noqa: F401

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


def shared(path):
    """A file or folder of the shared real data, or a skip that says what is missing."""
    found = SHARED / path
    if not found.exists():
        pytest.skip(f"needs the real data ../shared/{path}, which is not part of this checkout")
    return found


@pytest.fixture(scope="session")
def index(tmp_path_factory):
    """Skip unless pip can reach a package index."""
    folder = tmp_path_factory.mktemp("index")
    asked = subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir",
                            "--retries", "1", "--timeout", "10", "--dest", folder, "mdurl"],
                           capture_output=True, text=True)
    if asked.returncode:
        pytest.skip(f"pip can't reach a package index: {asked.stderr.strip().splitlines()[-1]}")


@contextlib.contextmanager
def emulated(command):
    """QEMU with a serial line that a test talks to; gone at the end, however the test ends."""
    board = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield board
    finally:
        board.kill()
        board.communicate()
