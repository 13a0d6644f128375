"""Apps for TensorFlow Lite Micro, compiled for this computer against a stand-in of its library."""
import re
import subprocess
from pathlib import Path

import numpy as np

from mobilenet_keras.mcu import tflm
from mobilenet_keras.mcu.tflm import export_tflm, run_tflm

DECLARATIONS = Path(__file__).parent / "tflm_declarations"


# What stands for TFLM: an interpreter that answers with the expected bytes, changed by macros. As a library does, it sees
# TfLiteTensor as it was built itself.
STAND_IN = """
#include <cstring>
#include "model_data.h"
#include "tensorflow/lite/micro/micro_interpreter.h"
#ifndef FLIP
#define FLIP 0
#endif
#ifndef BREAK
#define BREAK
#endif
#ifndef VERSION
#define VERSION 3
#endif
static int8_t in[kInputBytes], out[kOutputBytes];
static TfLiteTensor input, outputs[kOutputs];
static struct {
  TfLiteStatus started, allocated, invoked;
  TfLiteTensor *input, *outputs;
} test_tflm = {kTfLiteOk, kTfLiteOk, kTfLiteOk, &input, outputs};
static void Fill(TfLiteTensor* tensor, int8_t* data, size_t bytes) { tensor->type = kTfLiteInt8, tensor->data.int8 = data, tensor->bytes = bytes; }
static struct Filled {
  Filled() {
    Fill(&input, in, sizeof in);
    int8_t* at = out;
    for (int k = 0; k < kOutputs; at += kOutput[k++].bytes) Fill(outputs + k, at, kOutput[k].bytes);
    BREAK;
  }
} filled;
static bool Right() {
  for (size_t i = 0; i < kInputBytes; ++i) {
    const size_t c = i % kChannels, from = i - c + (kReversed ? kChannels - 1 - c : c);
    if (in[i] != kPixelTable[kTestPixels[from] * kChannels + c]) return false;
  }
  return true;
}
namespace tflite {
uint32_t Model::version() const { return VERSION; }
TfLiteStatus MicroInterpreter::initialization_status() const { return test_tflm.started; }
TfLiteStatus MicroInterpreter::AllocateTensors() { return test_tflm.allocated; }
TfLiteTensor* MicroInterpreter::input(size_t) { return test_tflm.input; }
TfLiteTensor* MicroInterpreter::output(size_t i) { return test_tflm.outputs ? test_tflm.outputs + i : nullptr; }
TfLiteStatus MicroInterpreter::Invoke() {
  const uint32_t event = profiler_ ? profiler_->BeginEvent("CONV_2D") : 0;
  if (Right()) std::memcpy(out, kExpected, sizeof out), out[kOutputBytes - 1] = static_cast<int8_t>(out[kOutputBytes - 1] ^ FLIP);
  if (profiler_) profiler_->EndEvent(event);
  return test_tflm.invoked;
}
}
"""


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def array(folder, name):
    """The numbers of an array of model_data.cc."""
    body = re.search(name + r"\[[^\]]+\] = \{(.*?)\};", (folder / "model_data.cc").read_text(), re.S)[1]
    return [int(n) for n in body.split(",") if n.strip()]


def gcc(folder, *arguments, compiler="g++"):
    command = [compiler, "-std=c++17", "-Wall", "-Wextra", "-Werror", f"-I{DECLARATIONS}", f"-I{folder}", *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:2000]


def stand_in(folder, *macros, static_memory=True):
    """The stand-in, built as its library is: an object file."""
    (folder / "stand_in.cc").write_text(STAND_IN)
    gcc(folder, *(f"-D{m}" for m in macros), *["-DTF_LITE_STATIC_MEMORY"] * static_memory, "-c", "stand_in.cc", "-o", "stand_in.o")
    return folder / "stand_in.o"


def run(folder, *macros):
    """The app with the stand-in: (exit code, what it printed)."""
    gcc(folder, *(f"-D{m}" for m in macros), "main.cc", "model_data.cc", stand_in(folder, *macros), "-o", "app")
    done = subprocess.run([folder / "app"], capture_output=True)
    return done.returncode, done.stdout.decode("utf-8", "replace")


def registered(folder):
    main = (folder / "main.cc").read_text()
    ops = re.findall(r"resolver\.Add(\w+)\(", main)
    assert f"MicroMutableOpResolver<{len(ops)}>" in main and len(set(ops)) == len(ops)
    return ops


def check_app(model, app):
    """The ops of the file and no other, TFLM's bytes for the built-in photo, and the app's own logic; what it printed."""
    export_tflm(model, app)
    assert {f"Add{n}" for n in registered(app)} == {tflm.TFLM_OPS[k] for k in {op.name for op in model.ops}}
    t, rule = model.inputs[0], model.preprocessing
    pixels = np.array(array(app, "kTestPixels"), np.uint8).reshape(t.shape[1:])
    batch = rule.quantize(pixels[None], t.scale[0], t.zero_point[0]) if rule else (pixels[None].astype(np.int16) - 128).astype(np.int8)
    outputs = run_tflm(model, batch)["outputs"]
    assert array(app, "kExpected") == np.concatenate([o.ravel() for o in outputs]).tolist()
    code, text = run(app)
    assert code == 0 and "PASS" in text, text
    return text
