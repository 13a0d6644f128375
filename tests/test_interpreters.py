"""Classifying real photos with real models, and `verify` telling agreement from disagreement."""
import csv

import numpy as np
import pytest
from conftest import shared
from helpers import person_detect

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.preprocessing import Preprocessing
from mobilenet_keras.tflite import interpreters
from mobilenet_keras.tflite.interpreters import Classifier, installed_runtimes, load
from mobilenet_keras.tflite.model import Model, one_op_model
from mobilenet_keras.tflite.verify import verify

HERE = [name for name, state in installed_runtimes().items() if state is True and not name.startswith("tensorflow")]
NOBODY = pytest.param("", marks=pytest.mark.skip(reason="no interpreter is installed"))


@pytest.mark.parametrize("name", HERE or [NOBODY])
def test_person_detect(name):
    classifier = Classifier(person_detect(), name)
    assert classifier.predict(shared("models/tflite_micro/person.bmp")).label == "person"
    assert classifier.predict(shared("models/tflite_micro/no_person.bmp")).label == "no person"


@pytest.mark.parametrize("name, least", [("mobilenet_v1_0.25_128_quant", 7), ("mobilenet_v2_1.0_224_quant", 18)])
def test_coral_models_see_imagenet(name, least):
    """Every tenth photo: the full set gives 0.417 and 0.852, so 25 photos must give a little less at least."""
    with open(shared("data/imagenet_sample250/labels.csv"), encoding="utf-8", newline="") as f:
        rows = list(csv.DictReader(f))[::10]
    images = shared("data/imagenet_sample250/images")
    classifier = Classifier(shared(f"models/coral/{name}.tflite"))
    p = np.stack([found.probabilities for found in classifier.predict([images / row["file"].split("/")[-1] for row in rows])])
    right = sum(int(row["index"]) + 1 == i for row, i in zip(rows, p.argmax(1), strict=True))  # 0 is the background
    assert p.shape == (25, 1001) and right >= least


def test_nothing_installed(monkeypatch):
    monkeypatch.setattr(interpreters.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MobileNetError, match=r'pip install "mobilenet-keras\[pi\]"'):
        load(Model(one_op_model()))
    verdict = verify(Model(one_op_model()), np.zeros((1, 10), np.int8))
    assert not verdict.ok and "not installed" in verdict.reason


def test_errors_are_sentences():
    with pytest.raises(MobileNetError, match="Edge TPU"):
        load(shared("models/coral/mobilenet_v1_0.25_128_quant_edgetpu.tflite"))
    with pytest.raises(MobileNetError, match="only fully quantized"):
        verify(shared("models/mlperf_tiny/vww_96_float.tflite"))
    with pytest.raises(MobileNetError, match="gives a map"):
        Classifier(shared("models/coral/deeplabv3_mnv2_dm05_pascal_quant.tflite"), preprocessing=Preprocessing(513))
    with pytest.raises(MobileNetError, match="No such photo"):
        Classifier(person_detect()).predict("nowhere.jpg")


def test_missing_preprocessing_is_said(capsys):
    """A quantized model without metadata gets the photo's bytes straight in, whatever its scale, and says what it did."""
    pixels = np.random.default_rng(0).integers(0, 256, (1, 96, 96, 3), dtype=np.uint8)
    classifier = Classifier(shared("models/mlperf_tiny/vww_96_int8.tflite"))
    assert "doesn't say how photos are prepared; pixels 0 to 255 are given as" in capsys.readouterr().err
    t = classifier.model.inputs[0]
    assert (classifier.preprocessing.quantize(pixels, t.scale[0], t.zero_point[0]) == (pixels.astype(int) - 128)).all()


def test_float_and_int8_see_the_same():
    """The float model and its int8 form agree on the class of real photos."""
    photos = sorted(shared("data/coral_photos/images").iterdir())[:8]
    p = Preprocessing(96, 96, mean=0, std=255)  # MLPerf Tiny: x / 255
    models = (shared(f"models/mlperf_tiny/vww_96_{kind}.tflite") for kind in ("float", "int8"))
    float32, int8 = (np.stack([found.probabilities for found in Classifier(model, preprocessing=p).predict(photos)]) for model in models)
    assert abs(float32.sum(1) - 1).max() < 1e-3
    assert (float32.argmax(1) == int8.argmax(1)).mean() >= .75 and abs(float32 - int8).mean() < .1
