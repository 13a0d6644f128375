"""`verify` tells agreement from disagreement."""
import json

import numpy as np
import pytest
from conftest import shared
from helpers import GRAY, person_detect

from mobilenet_keras.tflite import verify as verifying
from mobilenet_keras.tflite.builder import example
from mobilenet_keras.tflite.interpreters import installed_runtimes
from mobilenet_keras.tflite.model import Model, one_op_model
from mobilenet_keras.tflite.verify import verify

needs_judges = pytest.mark.skipif(not all(installed_runtimes()[n] is True for n in ("tflm", "litert-reference")),
                                  reason="needs tflite-micro and ai-edge-litert")


@needs_judges
@pytest.mark.parametrize("name", ["mlperf_tiny/vww_96_int8", "tflite_micro/person_detect"])
def test_verify_passes_on_trained_models(name):
    verdict = verify(shared(f"models/{name}.tflite"))
    assert verdict.ok and verdict.reference == "tflm" and "seeded noise" in verdict.pixels, str(verdict)
    assert 80_000 < verdict.arena_bytes < 110_000
    assert json.loads(json.dumps(verdict.to_dict()))["ok"] is True
    assert "PASS" in str(verdict) and "<table>" in verdict._repr_html_()


@needs_judges
def test_verify_finds_one_wrong_bit():
    model = person_detect()
    pixels = np.stack([GRAY.pixels(shared(f"models/tflite_micro/{n}.bmp")) for n in ("person", "no_person")])
    exact = ["tflm", "litert-reference"]
    outputs = verify(model, pixels, exact).outputs[0]
    assert verify(model, pixels, exact, expected=outputs).ok
    outputs[1, 0] ^= 1
    wrong = verify(model, pixels, exact, expected=outputs)
    assert not wrong.ok and wrong.rows[-1]["differing"] == 1 and "expected" in wrong.reason


@needs_judges
def test_modules_beside_a_model_are_not_run(tmp_path, monkeypatch):
    """Each interpreter runs in a process of its own, which would import `html.py` of the current folder in place of Python's."""
    for name in ("html", "json", "numpy", "tflite", "tflite_micro"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w')\nraise ImportError('mine')\n")
    monkeypatch.chdir(tmp_path)
    assert verify(example(), runtimes=["tflm", "litert-reference"]).ok and not (tmp_path / "ran").exists()


@needs_judges
def test_verify_survives_an_abort(monkeypatch):
    abort = "import os, sys; print('Check failed', file=sys.stderr, flush=True); os.abort()"
    monkeypatch.setattr(verifying, "_RUN", abort)
    verdict = verify(Model(one_op_model(), "tiny"), np.zeros((1, 10), np.int8), ["litert-reference"])
    assert not verdict.ok and "signal 6" in verdict.rows[0]["note"] and "Check failed" in verdict.rows[0]["note"]


@needs_judges
def test_verify_says_when_tflm_can_not_judge():
    verdict = verify(shared("models/coral/mobilenet_v1_0.25_128_quant.tflite"), runtimes=["tflm", "litert-reference"])
    assert not verdict.ok and "uint8 weights" in verdict.reason
