"""The exported app: it compiles without a warning, holds exactly the model's ops, tests itself, and is reproducible."""
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import shared

from mobilenet_keras import runtime, tflm
from mobilenet_keras.core import MobileNetError
from mobilenet_keras.preprocessing import Preprocessing
from mobilenet_keras.runtime import available
from mobilenet_keras.tflite import Model, _tiny_model
from mobilenet_keras.tflm import FILES, c_string, export_tflm

needs_tflm = pytest.mark.skipif(available()["tflm"] is not True, reason="needs tflite-micro (Linux x86-64)")
needs_gcc = pytest.mark.skipif(not shutil.which("g++"), reason="needs g++")
DECLARATIONS = Path(__file__).parent / "tflm_declarations"
HOSTILE = ['"; return 0; //', "back\\slash", "what??/", "@MODEL_DATA@", "%s%n", "Füchse 🦊", "*/ /*", "tab\tbell\a",
           "0digits1", "\0nul"]
# What stands for TFLM: an interpreter that answers with the expected bytes, changed by argv.
STAND_IN = """
#include "model_data.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
static int8_t in[kInputBytes], out[kClasses];
TfLiteTensor test_input = {{in}, sizeof in}, test_output = {{out}, sizeof out};
TfLiteStatus TestInvoke(const int8_t* input, int8_t* output) {
  for (size_t i = 0; i < kInputBytes; ++i) if (input[i] != kTestInput[i]) return kTfLiteError;
  for (int i = 0; i < kClasses; ++i) output[i] = kExpected[i];
  output[0] = static_cast<int8_t>(output[0] ^ FLIP);
  return kTfLiteOk;
}
"""


def hostile():
    return Model(_tiny_model(), 'evil"; name @LABELS@\n\\').with_metadata(HOSTILE)


def files(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def array(folder, name):
    """The numbers of an array of model_data.cc."""
    body = re.search(name + r"\[\w+\] = \{(.*?)\}", (folder / "model_data.cc").read_text(), re.S)[1]
    return [int(n) for n in body.split(",") if n.strip()]


def gcc(folder, *arguments):
    command = ["g++", "-std=c++17", "-Wall", "-Wextra", "-Werror", f"-I{DECLARATIONS}", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:2000]


def run(folder, flip):
    (folder / "stand_in.cc").write_text(STAND_IN)
    gcc(folder, f"-DFLIP={flip}", "main.cc", "model_data.cc", "stand_in.cc", "-o", "app")
    return subprocess.run([folder / "app"], capture_output=True)


@needs_tflm
@needs_gcc
def test_person_detect_app(tmp_path):
    model = Model.open(shared("models/tflite_micro/person_detect.tflite"))
    model = model.with_metadata(["no person", "person"], Preprocessing.preset("keras", 96, 1))
    app = export_tflm(model, tmp_path / "app", photo=shared("models/tflite_micro/person.bmp"))
    gcc(app, "-fsyntax-only", "main.cc", "model_data.cc")
    main = (app / "main.cc").read_text()
    assert re.findall(r"resolver\.Add(\w+)\(", main) == "AveragePool2D Conv2D DepthwiseConv2D Reshape Softmax".split()
    assert "MicroMutableOpResolver<5>" in main
    arena = int(re.search(r"kArenaBytes = (\d+)", main)[1])
    assert 85_264 <= arena - tflm.MARGIN < 85_264 + 2048
    original = shared("models/tflite_micro/person_detect.tflite").read_bytes()
    assert bytes(array(app, "kModelData")) == original, "flash holds the model without its metadata"
    done = run(app, 0)
    assert done.returncode == 0 and b"PASS: 2 output bytes" in done.stdout and b"1: person " in done.stdout
    done = run(app, 1)
    assert done.returncode == 1 and b"FAIL: output 0" in done.stdout


@needs_tflm
@needs_gcc
def test_hostile_labels_and_names(tmp_path):
    app = export_tflm(hostile(), tmp_path / "app")
    gcc(app, "-fsyntax-only", "-Wtrigraphs", "-Wcomment", "main.cc", "model_data.cc")
    printed = run(app, 0).stdout.decode("utf-8", "replace")
    assert printed.startswith('evil"; name @LABELS@\n\\ on TensorFlow Lite Micro')
    assert any(label in printed for label in HOSTILE[:8]) and "PASS" in printed
    assert "@" not in "".join((app / n).read_text() for n in FILES if n != "model_data.cc"), "a hole was not filled"


@needs_gcc
def test_c_strings_come_back(tmp_path):
    texts = HOSTILE[:-1] + ["??=??(", "é" * 50, "\x7f\x01" + "7"]
    lines = "".join(f"std::puts({c_string(t)});\n" for t in texts)
    (tmp_path / "s.cc").write_text(f"#include <cstdio>\nint main() {{\n{lines}}}\n")
    gcc(tmp_path, "-trigraphs", "s.cc", "-o", "s")
    assert subprocess.run([tmp_path / "s"], capture_output=True).stdout == "".join(t + "\n" for t in texts).encode()


@needs_tflm
def test_exporting_again_changes_no_byte(tmp_path):
    app = export_tflm(hostile(), tmp_path / "app")
    (app / "build").mkdir()
    (app / "build" / "mine.txt").write_text("kept")
    before = {n: (app / n).read_bytes() for n in FILES}
    export_tflm(hostile(), app)
    assert before == {n: (app / n).read_bytes() for n in FILES} and (app / "build" / "mine.txt").read_text() == "kept"
    assert sorted(p.name for p in app.iterdir()) == sorted([*FILES, "build"])


def test_a_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "CMakeLists.txt").write_text("project(mine)")
    with pytest.raises(MobileNetError, match="did not write"):
        export_tflm(hostile(), tmp_path)
    assert files(tmp_path) == {"CMakeLists.txt": b"project(mine)"}
    with pytest.raises(MobileNetError, match="is a file"):
        export_tflm(hostile(), tmp_path / "CMakeLists.txt")


def test_what_tflm_can_not_run_is_refused(tmp_path):
    with pytest.raises(MobileNetError, match="no UNIQUE, which is op 0"):
        export_tflm(Model(_tiny_model(code=103)), tmp_path / "app")
    for name, message in (("mlperf_tiny/vww_96_float", "Quantize it to int8"),
                          ("coral/mobilenet_v1_0.25_128_quant", "Quantize it to int8"),
                          ("coral/mobilenet_v1_0.25_128_quant_edgetpu", "no edgetpu-custom-op")):
        with pytest.raises(MobileNetError, match=message):
            export_tflm(shared(f"models/{name}.tflite"), tmp_path / "app")
    assert not (tmp_path / "app").exists()


@pytest.mark.skipif(available()["litert-reference"] is not True, reason="needs ai-edge-litert")
def test_without_tflite_micro(tmp_path, monkeypatch):
    real = runtime.importlib.util.find_spec
    without = lambda name: None if name == "tflite_micro" else real(name)  # noqa: E731
    monkeypatch.setattr(runtime.importlib.util, "find_spec", without)
    with pytest.raises(MobileNetError, match="pip install tflite-micro.*arena="):
        export_tflm(hostile(), tmp_path / "app")
    app = export_tflm(hostile(), tmp_path / "app", arena=10_000)
    assert "kArenaBytes = 10000;" in (app / "main.cc").read_text()
    assert "computed by litert-reference" in (app / "README.md").read_text()


@needs_tflm
def test_expected_bytes_are_tflms(tmp_path):
    app = export_tflm(hostile(), tmp_path / "app")
    outputs = runtime.load(hostile(), "tflm").run(tflm._test_input(hostile(), None))[0]
    assert outputs[0].tolist() == array(app, "kExpected")
