"""The annotations of the exported package hold: mypy at the level that pyproject.toml states."""
import re
import subprocess
import sys

import pytest
from conftest import ROOT

pytest.importorskip("mypy", reason="needs the extra [dev]")

USES = """
from mobilenet_keras.tflite.model import Model
model = Model.open("model.tflite")
model.with_metadata()
Model(b"").summery()
Model(b"", nmae="x")
"""


def mypy(*arguments):
    """(exit status, what mypy says)."""
    done = subprocess.run([sys.executable, "-m", "mypy", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, timeout=600)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("version", ["3.11", "3.14"])  # the oldest Python, and the newest
def test_types(version):
    status, said = mypy("--python-version", version)
    assert status == 0, said


def test_patched_methods_are_known_and_typing_errors_are_not(tmp_path):
    """The plugin in .ci tells mypy of the methods that stand outside of their class, and of no others."""
    (tmp_path / "uses.py").write_text(USES)
    status, said = mypy(tmp_path / "uses.py")
    assert status == 1, said
    assert re.findall("error: (.*?)  \\[", said) == ['"Model" has no attribute "summery"', 'Unexpected keyword argument "nmae" for "Model"'], said
