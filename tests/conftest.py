"""What all tests share: the real photos and models, a package index, one TensorFlow, who runs with whom, and what a test may cost."""
import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from cpu_limit import CpuLimit

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


@pytest.fixture(scope="module")
def chromium():
    """A headless browser that asks no host for anything of its own."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if not path:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    quiet = "--disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu", *quiet.split()])
        yield browser
        browser.close()


# Tests that use one of these run in one process, so that each is set up once; the others run file by file.
SHARED_FIXTURES = {"tensorflow": "tensorflow", "site": "docs", "wheels": "wheels", "forked": "notebooks"}
# What takes longest begins first, so that at the end no process waits for another one; then the groups with most tests.
LONGEST = ["tensorflow", "notebooks", "test_cores", "trained models", "test_demo", "test_two_cores", "test_engine_speed", "test_cli", "docs",
           "3.13 train", "documented commands", "wheels"]


def pytest_addoption(parser):
    parser.addini("cpu_limit", "CPU-seconds that a test may take which isn't marked slow", default="10")


def pytest_configure(config):
    config.pluginmanager.register(CpuLimit(float(config.getini("cpu_limit"))), "cpu_limit")
    config.option.loadscopereorder = False  # pytest-xdist keeps the order of `pytest_collection_modifyitems`


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items):
    """Groups before pytest-xdist reads them, and their order after those tests that are not wanted were left out."""
    def group(item):
        return item.get_closest_marker("xdist_group").args[0]
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            name = next((SHARED_FIXTURES[name] for name in item.fixturenames if name in SHARED_FIXTURES), item.path.stem)
            item.add_marker(pytest.mark.xdist_group(name))
    yield
    if "PYTEST_XDIST_WORKER" in os.environ:
        tests = Counter(map(group, items))
        items.sort(key=lambda item: (LONGEST.index(name) if (name := group(item)) in LONGEST else len(LONGEST), -tests[name], name))


@pytest.fixture(scope="session")
def tensorflow():
    """TensorFlow, or a skip; tests that use it share a process, so that it is imported once, at nobody's cost."""
    pytest.importorskip("keras", reason="needs the extra [train]")
    return pytest.importorskip("tensorflow", reason="needs the extra [train]")


@pytest.fixture(scope="session")
def whole(tensorflow, tmp_path_factory):
    """A run of the tiny training that nothing disturbed."""
    from small_training import eagerly, train
    with eagerly():
        return train(tmp_path_factory.mktemp("whole") / "run")


@pytest.fixture(scope="session")
def trained(tensorflow, tmp_path_factory):
    """A folder with photos, `fruit`, and a `run` that the command line trained on them and quantized."""
    from helpers import photos
    from small_training import eagerly

    from mobilenet_keras import cli
    home = tmp_path_factory.mktemp("trained")
    photos(home / "fruit", n=16)
    with eagerly(), pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        for line in ("train fruit --weights none --size 32 --epochs 3 --batch-size 8 --learning-rate 0.003 --out run", "quantize run"):
            assert cli.main(line.split()) == 0
    return home


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


@pytest.fixture(scope="session")
def x64(tmp_path_factory):
    """MicroPython's module for this computer."""
    from mobilenet_keras.mcu import mpy
    return mpy.build_module("x64", tmp_path_factory.mktemp("x64"), cc="gcc" if sys.platform == "linux" else None)


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """A small model with class names and a rule for photos, as a file."""
    from mobilenet_keras.preprocessing import Preprocessing
    from mobilenet_keras.tflite.builder import example
    path = tmp_path_factory.mktemp("model") / "model.tflite"
    example().with_metadata(list("abcde"), Preprocessing(33, 31, mean=120, std=64)).save(path)
    return path


@pytest.fixture
def plug_in(tmp_path):
    """Start boards with MicroPython; they are unplugged at the end."""
    from micropython_board import Board
    boards = []

    def start(startup="", **how):
        boards.append(Board(tmp_path / f"board{len(boards)}", startup, **how))
        return boards[-1]
    yield start
    for one in boards:
        one.close()


@pytest.fixture
def flash(capsys, model, x64):
    """`mobilenet micropython flash` of the model on a board: (exit code, facts or text, complaint)."""
    from mobilenet_keras import cli

    def run(board, *args):
        port = ["--port", board.port] if board else []
        code = cli.main(["micropython", "flash", str(model), *port, "--module", str(x64), "--wait", "5", *map(str, args)])
        out, err = capsys.readouterr()
        return code, json.loads(out) if "--json" in args and out else out, err
    return run
