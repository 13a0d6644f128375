"""The annotations of the exported package hold: mypy at the level that pyproject.toml states."""
import re
import subprocess
import sys
import tomllib

import pytest
from conftest import ROOT

pytest.importorskip("mypy", reason="needs the extra [dev]")

CONFIG = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
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


@pytest.mark.parametrize("version", ["3.11", "3.14"])  # the oldest Python, and the newest
def test_types(version, tmp_path):
    """No errors, but in the modules that pyproject.toml lists as not clean, each of which has some, so that the list only shrinks."""
    config = tomllib.loads(CONFIG)["tool"]["mypy"]
    ignored = {module for override in config["overrides"] if override.get("ignore_errors") for module in override["module"]}
    strict = CONFIG.replace("ignore_errors = true", "ignore_errors = false").replace(".ci/mypy_patch.py", (ROOT / ".ci/mypy_patch.py").as_posix())
    (tmp_path / "pyproject.toml").write_text(strict, encoding="utf-8")
    status, said = mypy("--python-version", version, "--config-file", tmp_path / "pyproject.toml", *config["files"])
    errors = [line.replace("\\", "/") for line in said.splitlines() if ": error: " in line]
    found = {line.split(".py:")[0].replace("/", "."): line for line in errors}
    assert status in (0, 1), said
    assert not found.keys() - ignored, "\n".join(line for line in errors if line.split(".py:")[0].replace("/", ".") not in ignored)
    assert not ignored - found.keys(), f"These are clean now; remove them from the list in pyproject.toml: {', '.join(ignored - found.keys())}"


def test_patched_methods_are_known_and_typing_errors_are_not(tmp_path):
    """The plugin in .ci tells mypy of the methods that stand outside of their class, and of no others."""
    (tmp_path / "uses.py").write_text(USES)
    status, said = mypy(tmp_path / "uses.py")
    assert status == 1, said
    assert re.findall("error: (.*?)  \\[", said) == ['"Model" has no attribute "summery"', 'Unexpected keyword argument "nmae" for "Model"'], said
