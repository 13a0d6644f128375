"""What all tests share: where the real photos and models lie, quiet TensorFlow, and interpreters that live together."""
import contextlib
import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
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
