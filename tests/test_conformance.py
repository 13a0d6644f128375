"""The engine against TensorFlow Lite Micro, and of uint8 LiteRT's reference, on models of one op with extreme numbers: a slice of
benchmarks/conformance.py."""
import sys

import pytest
from conftest import ROOT

from mobilenet_keras.tflite.interpreters import installed_runtimes

sys.path.insert(0, str(ROOT / "benchmarks"))
import conformance  # noqa: E402

pytestmark = pytest.mark.skipif(installed_runtimes()["tflm"] is not True, reason="needs tflite-micro")


@pytest.mark.parametrize("op", [op for op in conformance.EVERY if not op.startswith("uint8")])
def test_models_of_one_op_are_tflm_byte_for_byte(op):
    models = 5 if op in conformance.DRAW_LARGE else 60
    row, different = conformance.measure(op, range(models))
    assert not different, different
    assert row["refused"] <= .2 * models and row["tflm_refused"] == row["tflm_aborted"] == 0, row
    assert row["outputs_vary"] >= .4 * models, "outputs that are constant prove little"


@pytest.mark.parametrize("models", [20, pytest.param(300, marks=pytest.mark.slow)])
@pytest.mark.parametrize("op", [op.removeprefix("uint8 ") for op in conformance.EVERY if op.startswith("uint8 ")])
def test_models_of_one_op_of_uint8_are_litert_byte_for_byte(op, models):
    """What LiteRT refuses is none of them: weights have any zero point, a scale for all."""
    row, different = conformance.measure(f"uint8 {op}", range(models))
    assert not different, different
    may = .7 if op == "RESIZE_BILINEAR" else .2  # which works in float32, and is the same in 256ths alone
    assert row["refused"] <= may * models and row["tflm_refused"] == row["tflm_aborted"] == 0, row
    assert row["outputs_vary"] >= .5 * (models - row["refused"]), "outputs that are constant prove little"


def test_a_difference_is_noticed(monkeypatch):
    class Wrong(conformance.Engine):
        def run(self, x):
            found = super().run(x)
            found.ravel()[-1] ^= 1
            return found

    monkeypatch.setattr(conformance, "Engine", Wrong)
    row, different = conformance.measure("CONV_2D", range(4))
    assert row["differences"] == 4 and "CONV_2D 3, input 0, output" in different[-1]


def test_a_crash_of_tflm_ends_one_model_only(monkeypatch):
    """512 equal classes, between two models that are sound."""
    def classes(rng):
        return conformance.start(rng, 1, 1, 512 if conformance.chance(rng, .5) else 3, 1e-4).softmax()

    monkeypatch.setitem(conformance.DRAW, "SOFTMAX", classes)
    found = [what for what, _ in conformance.outcomes("SOFTMAX", range(8))]
    assert set(found) == {"equal", "tflm aborted"} and len(found) == 8
