"""Whose weights these are, from the network to the firmware's NOTICE."""
import json

import numpy as np
import pytest
from conftest import shared

from mobilenet_keras.engine.mbn import compile_model, read_facts
from mobilenet_keras.mcu.firmware import write_sources
from mobilenet_keras.provenance import notice, provenance, told, trained_on
from mobilenet_keras.tflite.builder import example
from mobilenet_keras.tflite.model import Model

KERAS = dict(source="Keras Applications, MobileNetV1", url="https://example.org/w.h5", licence="Apache-2.0", sha256="ab" * 32)


def test_what_nobody_said_is_unknown():
    assert provenance() == provenance(None) == provenance("x") == dict(source="unknown", url="unknown", licence="unknown")
    assert provenance(KERAS, licence=None) == KERAS and provenance(KERAS, licence="MIT")["licence"] == "MIT"
    assert ("licence", "unknown") in told({}) and "find out before" in notice("m", {}) and "find out" not in notice("m", KERAS)


def test_a_file_says_what_it_likes():
    """Terminal codes, lists for names, a million letters and sets: short plain words, or unknown."""
    wild = provenance(dict(source="a\x1b[31m\nb" + "x" * 10**6, url=["http://"], licence=None, sha256={}, more=1,
                           trained_on=[dict(folder="f\n", photos=3, x=1), 7] * 99))
    assert wild["source"].startswith("a [31m b") and len(wild["source"]) <= 300 and wild["url"] == wild["licence"] == "unknown"
    assert set(wild) == {"source", "url", "licence", "trained_on"} and len(wild["trained_on"]) <= 20
    assert wild["trained_on"][0] == dict(folder="f", photos=3)


def test_each_training_is_added():
    once = trained_on(KERAS, "/a/fruit", 100, 3)
    twice = trained_on(once, None, 20, 2)
    assert twice["trained_on"] == [dict(folder="fruit", photos=100, classes=3), dict(folder="unknown", photos=20, classes=2)]
    assert twice["licence"] == "Apache-2.0"
    assert json.loads(json.dumps(twice)) == provenance(json.loads(json.dumps(twice))) == twice


@pytest.fixture(scope="module")
def model():
    return example().with_metadata(list("abcde"), provenance=trained_on(KERAS, "fruit", 100, 3))


def test_in_a_tflite_and_a_mbn(model, tmp_path):
    again = Model.open(model.save(tmp_path / "m.tflite")).with_metadata(description="more")
    assert again.provenance == model.provenance == again.to_dict()["provenance"] and again.without_metadata().provenance is None
    assert "weights  Keras Applications, MobileNetV1\nlicence  Apache-2.0\n" in str(again) and "unknown origin" in str(example())
    assert read_facts(compile_model(model).data)[1]["provenance"] == {k: KERAS[k] for k in ("source", "url", "licence")}
    assert "provenance" not in read_facts(compile_model(example()).data)[1]


def test_in_the_notice_of_what_is_exported(model, tmp_path):
    folder = write_sources(model, "pico", tmp_path / "app")
    said = (folder / "NOTICE").read_text(encoding="utf-8")
    assert all(word in said for word in ("Apache-2.0", KERAS["url"], KERAS["sha256"], "fruit (100 photos, 3 classes)"))
    assert "licence:  unknown" in (write_sources(example(), "pico", tmp_path / "other") / "NOTICE").read_text(encoding="utf-8")
    from mobilenet_keras.mcu.micropython import export_micropython
    assert "Apache-2.0" in next(p for p in export_micropython(model, tmp_path / "disk") if p.name == "NOTICE").read_text(encoding="utf-8")


def test_in_what_tflm_is_exported(model, tmp_path):
    pytest.importorskip("tflite_micro", reason="needs tflite-micro, the reference")
    from mobilenet_keras.mcu.tflm import export_tflm
    assert "Apache-2.0" in (export_tflm(model, tmp_path / "app") / "NOTICE").read_text(encoding="utf-8")


def test_from_a_network_through_training_to_int8(tensorflow, tmp_path):
    """Official weights are known by their digest; a run, its folder and its int8 file keep it, and a new head changes nothing."""
    import keras

    from mobilenet_keras.networks.heads import classifier_head
    from mobilenet_keras.networks.models import MobileNetV1
    from mobilenet_keras.networks.pretrained import SHA256, weights_provenance
    from mobilenet_keras.photos import Photos
    from mobilenet_keras.run import Run
    from mobilenet_keras.training.fine_tune import fine_tune
    from mobilenet_keras.training.quantization import origin_of
    assert MobileNetV1(.25, (32, 32, 3), 2).provenance["source"] == "random weights, trained from the start"
    path = shared("models/keras/mobilenet_v1_0.25_224.h5")
    known = weights_provenance(path, "https://example.org/x.h5")
    assert known["licence"] == "Apache-2.0" and known["url"] == "https://example.org/x.h5" and len(known["sha256"]) == 64
    assert weights_provenance(path)["licence"] == ("Apache-2.0" if known["sha256"] in SHA256.values() else "unknown")
    net = MobileNetV1(.25, (32, 32, 3), ["a", "b"], path)
    net.provenance = provenance(KERAS)
    assert classifier_head(net, 3).provenance == net.provenance
    pixels = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), np.uint8)
    photos = Photos.from_arrays((pixels, np.arange(16) % 2), classes=["a", "b"], group=False)
    keras.utils.set_random_seed(0)
    run = fine_tune(net, photos, 0, 1, folder=tmp_path / "run")
    wanted = KERAS | dict(trained_on=[dict(folder="unknown", photos=len(photos.train), classes=2)])
    assert run.net.provenance == Run.open(tmp_path / "run").net.provenance == origin_of(run).provenance == wanted
    assert json.loads((tmp_path / "run" / "run.json").read_text())["provenance"] == wanted
