"""Other people's `.tflite` files: each does its work, or gets the one word that is true of it."""
import inspect
import json

import numpy as np
import pytest
from conftest import shared
from helpers import at_once, one_line, photos
from PIL import Image

from mobilenet_keras import Classifier, Model, evaluate, verify
from mobilenet_keras.core import MobileNetError
from mobilenet_keras.engine.engine import Engine
from mobilenet_keras.engine.lowering import refusal
from mobilenet_keras.engine.mbn import compile_model
from mobilenet_keras.mcu.simulate import simulate_folder
from mobilenet_keras.mcu.tflm import CUSTOM_OPS, TFLM_OPS, installed_ops, lint_tflm
from mobilenet_keras.preprocessing import SCALES, Preprocessing
from mobilenet_keras.tflite.builder import Builder, example
from mobilenet_keras.tflite.flatbuffer import flatbuffer_bytes
from mobilenet_keras.tflite.interpreters import installed_runtimes, load
from mobilenet_keras.tflite.prediction import IOSpec

needs_tflm = pytest.mark.skipif(installed_runtimes()["tflm"] is not True, reason="needs tflite-micro")
needs_any = pytest.mark.skipif(not any(installed_runtimes()[n] is True for n in ("tflite-runtime", "litert")), reason="needs an interpreter")


def case(name):
    return shared(f"cases/files/{name}.tflite")


def cat():
    return shared("models/coral/cat.bmp")


def seen(capsys):
    return capsys.readouterr().err


# Planes first


def planes_first(preprocessing=None):
    """As a PyTorch converter writes it: (1, 3, 32, 28) into a TRANSPOSE."""
    b = Builder((1, 3, 32, 28), 4)
    order = b.tensor((4,), None, 0, np.array([0, 2, 3, 1], np.int32))
    b.op(39, [b.last, order], (1, 32, 28, 3), b.scale, b.zero, (26, {})).conv(8, 3, 2).depthwise().conv(16).mean()
    model = b.dense(3).softmax().model("planes")
    return model.with_metadata(["a", "b", "c"], preprocessing) if preprocessing else model


@needs_any
def test_planes_first(tmp_path, capsys):
    """Every verb takes a photo as it takes one of a model with channels last; metadata goes along."""
    rule = Preprocessing(32, 28, resize="crop", mean=100, std=60)
    model, photo = planes_first(rule), np.random.default_rng(0).integers(0, 256, (60, 50, 3), np.uint8)
    assert model.preprocessing == rule
    x = np.moveaxis(rule.quantize(rule.pixels(photo), model.inputs[0].scale[0], model.inputs[0].zero_point[0]), -1, 0)
    judge = Classifier(model).interpreter.run(x[None])[0]
    assert (Classifier(model).predict(photo).scores == judge[0]).all() and (Engine(model).predict(photo).scores == judge[0]).all()
    assert verify(model, photo).ok or installed_runtimes()["tflm"] is not True
    plain = planes_first()
    assert plain.described(resize="crop", scale="unit").preprocessing == Preprocessing(32, 28, resize="crop", mean=0, std=255)
    folder = photos(tmp_path / "set", ("a", "b", "c"), 3)
    found = [evaluate(m, folder, labels=["a", "b", "c"]) for m in (plain, compile_model(plain))]
    assert found[0].predicted.tolist() == found[1].predicted.tolist()
    plain.save(tmp_path / "m.tflite")
    code, out, err = at_once(capsys, "inspect", tmp_path / "m.tflite")
    assert code == 0 and "int8 (1, 3, 32, 28)" in out and "gives    probabilities of 3 classes" in out


# How photos are prepared


@needs_any
def test_google_s_rule(capsys):
    """slim's `preprocess_for_eval`: the central 87.5 % of each side, bilinear; said once."""
    model = Model.open(shared("models/coral/mobilenet_v2_1.0_224_quant.tflite"))
    classifier = Classifier(model)
    assert seen(capsys) == ("mobilenet_v2_1.0_224_quant doesn't say how photos are prepared; of each side the central 87.5 % is stretched to fit, "
                            "the rule by which Google's ImageNet networks with 1,001 classes were published.\n")
    assert classifier.preprocessing == Preprocessing.preset("slim")
    told = Classifier(model.described(resize="stretch", scale="signed"))
    assert seen(capsys) == "" and told.preprocessing == Preprocessing.preset("keras")
    found = [c.predict(cat()) for c in (classifier, told)]
    assert [f.label for f in found] == ["Egyptian cat"] * 2 and found[0].probabilities.max() != found[1].probabilities.max()


@pytest.mark.slow
def test_google_s_rule_names_more_photos():
    """The benchmark's figures, on every fifth photo."""
    import csv
    folder = shared("data/imagenet_sample250")
    with open(folder / "labels.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[::5]
    right = {}
    for rule in ("stretch", "stretch:0.875"):
        classifier = Classifier(Model.open(shared("models/coral/mobilenet_v1_0.25_128_quant.tflite")).described(resize=rule))
        right[rule] = sum(int(classifier.predict(folder / row["file"]).scores.argmax()) == int(row["index"]) + 1 for row in rows)
    assert right["stretch:0.875"] > right["stretch"], right


@needs_any
@pytest.mark.parametrize("scale, low, high", [("unit", 0, 1), ("signed", -1, 1), ("imagenet", -2.1179, 2.64), ("raw", 0, 255)])
def test_scales_by_name(scale, low, high, capsys):
    model = Model.open(case("f16"))
    rule = model.described(scale=scale).preprocessing
    ends = rule(np.stack([np.full((96, 96, 3), v, np.uint8) for v in (0, 255)]))
    assert [ends.min(), ends.max()] == pytest.approx([low, high], abs=1e-3)
    Classifier(model.described(scale=scale)).predict(cat())
    assert seen(capsys) == "f16 doesn't say how photos are prepared; the whole photo is stretched to fit.\n", "what is told is no guess"


def test_the_command_line_has_the_table_s_names():
    from mobilenet_keras.cli import VERBS
    choices = {name: options["choices"] for name, verb in VERBS.items() for flags, options in verb.arguments if flags == ("--scale",)}
    assert set(choices) == {"convert", "predict", "evaluate", "verify", "compile", "build", "simulate", "export", "quantize", "report",
                            "flash", "micropython flash", "micropython export"}
    assert all(c == list(SCALES) for c in choices.values())


def test_crop_of_every_size():
    """506 x 507 pixels to 224 asked Pillow for a box a rounding outside the photo."""
    for side in (96, 160, 224):
        for width in range(30, 600, 7):
            rule = Preprocessing(side, side, 1, resize="crop")
            assert rule.pixels(Image.new("L", (width, width + 1))).shape == (side, side, 1)
    assert Preprocessing(224, 224, resize="crop").pixels(Image.new("RGB", (506, 507))).shape == (224, 224, 3)


# One probability


@needs_any
@pytest.mark.parametrize("name", ["sigmoid_int8", "dynrange"])
def test_one_probability(name, tmp_path, capsys):
    path = case(name)
    found = Classifier(path).predict(cat())
    assert sorted(found.names) == ["negative", "positive"] and sum(p for _, p in found.top()) == pytest.approx(1)
    assert Classifier(Model.open(path).described(["person"])).classes == ["not person", "person"]
    code, out, err = at_once(capsys, "predict", cat(), "--model", path)
    assert code == 0 and "positive" in out and "negative" in out
    code, out, err = at_once(capsys, "inspect", path)
    assert "gives    one probability, that of the second of two classes" in out
    folder = photos(tmp_path / "x", ("no", "yes"), 4)
    code, out, err = at_once(capsys, "evaluate", path, folder, "--alphabetical", "--json")
    facts = json.loads(out)
    assert code == 0 and facts["n"] == 8 and [c["name"] for c in facts["classes"]] == ["no", "yes"]
    assert facts["matched"] == "The folders are the model's classes in alphabetical order, as told."


@needs_any
def test_float16(capsys):
    """Its constants are behind DEQUANTIZE; it computes in float32."""
    code, out, err = at_once(capsys, "inspect", case("f16"))
    assert code == 0 and "gives    one probability" in out
    found = lint_tflm(case("f16"))
    assert [f.what for f in found.findings if f.op] == ["it computes in float, as do 85 more ops, which small cores do in software"]
    f, d = (Classifier(case(n)).predict(cat()) for n in ("f16", "dynrange"))
    assert f.probabilities == pytest.approx(d.probabilities, abs=.02), "the same network"


# Whose class is which folder


@needs_any
def test_folders_are_matched_by_name_or_refused(tmp_path, capsys):
    """The names in another order than the alphabet's: never alphabetical in silence."""
    b = Builder((1, 16, 16, 3), 2).conv(8, 3, 2).conv(16, 1).mean().dense(3).softmax()
    path = b.model().save(tmp_path / "m.tflite")
    folder = photos(tmp_path / "set", ("banana", "lime", "plum"), 3)
    code, out, err = at_once(capsys, "evaluate", path, folder)
    assert code == 2 and out == "" and "--labels FILE" in one_line(err) and "--alphabetical" in err
    (tmp_path / "labels.txt").write_text("Plum\nbanana\nlime\n")
    code, out, err = at_once(capsys, "evaluate", path, folder, "--json")
    facts = json.loads(out)
    assert code == 0 and [c["name"] for c in facts["classes"]] == ["Plum", "banana", "lime"]
    assert "The classes' names are those of labels.txt beside m.tflite." in err
    assert facts["matched"] == "The folders are the model's classes by name, as 'plum' is 'Plum'."
    found = evaluate(Model.open(path), folder)
    assert [found.classes[i].lower() for i in found.labels] == [p.parent.name for p in found.paths]
    code, out, err = at_once(capsys, "evaluate", path, folder, "--alphabetical")
    assert code == 2 and "leave --alphabetical out" in one_line(err)
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    code, out, err = at_once(capsys, "evaluate", path, folder)
    assert code == 2 and "has no class 'banana'" in one_line(err)
    (tmp_path / "labels.txt").unlink()
    code, out, err = at_once(capsys, "simulate", path, "--board", "mps2-an386", "--photos", folder)
    assert code == 2 and "--labels FILE" in one_line(err)
    compiled = compile_model(Model.open(path)).save(tmp_path / "m.mbn")
    (tmp_path / "mine.txt").write_text("plum\nbanana\nlime\n")
    code, out, err = at_once(capsys, "evaluate", compiled, folder, "--labels", tmp_path / "mine.txt", "--json")
    assert code == 0 and json.loads(out)["confusion"] == facts["confusion"], "the engine's bytes"
    assert inspect.signature(simulate_folder).parameters["alphabetical"].default is False


# What is no classifier of photos


@needs_any
@pytest.mark.parametrize("name, word", [
    ("fomo_int8", "gives a map: 3 probabilities in each of 12 x 12 cells, as a centroid detector"),
    ("twosig", "holds 2 graphs, of which this library takes the first"), ("int16x8", "activations of 16 bits \\(int16x8\\)")])
def test_a_clear_word(name, word):
    with pytest.raises(MobileNetError, match=word):
        Classifier(case(name)).predict(cat())


@needs_any
def test_a_softmax_of_one_value(tmp_path):
    with pytest.raises(MobileNetError, match="softmax of one value, which is always 1"):
        Classifier(Builder((1, 16, 16, 3)).conv(8, 3, 2).mean().dense(1).softmax().model("binary"))


@needs_any
def test_two_heads(tmp_path, capsys):
    Classifier(case("twoheads"))
    said = "twoheads has 2 outputs. As text, here and by a board, only the first is shown"
    assert said in seen(capsys)
    for verb in (["compile", "-o", "m.mbn"], ["export", "--runtime", "engine", "--to", "cmake", "-o", "lib"],
                 ["export", "--runtime", "engine", "--board", "pico", "-o", "app"], ["micropython", "export", "-o", "disk"]):
        at = 2 if verb[0] == "micropython" else 1
        code, out, err = at_once(capsys, *verb[:at], case("twoheads"), *verb[at:-1], tmp_path / verb[-1])
        assert code == 0 and err.count(said) == 1, (verb, err)
    assert not IOSpec.of(Model.open(case("sigmoid_int8"))).several


def test_what_the_engine_says(tmp_path, capsys):
    code, out, err = at_once(capsys, "compile", case("int16x8"), "-o", tmp_path / "x.mbn")
    assert code == 2 and "is int16" in one_line(err) and not (tmp_path / "x.mbn").exists()
    for name in ("v3ish", "dm2"):  # hard swish and a gate; a dilated convolution in blocks: the same bytes as LiteRT's reference
        code, out, err = at_once(capsys, "compile", case(name), "-o", tmp_path / f"{name}.mbn")
        engine, judge = Engine(tmp_path / f"{name}.mbn"), load(Model.open(case(name)), "litert-reference")
        x = np.random.default_rng(0).integers(-128, 128, (4, *engine.shape)).astype(np.int8)
        assert code == 0 and (engine.run(x) == np.concatenate([judge.run(one[None])[0].reshape(1, -1) for one in x])).all(), name


@needs_any
@pytest.mark.parametrize("path", ["cases/files/fomo_int8.tflite", "models/coral/deeplabv3_mnv2_dm05_pascal_quant.tflite"])
def test_what_predict_refuses_is_promised_to_no_one_who_refuses_it(path, capsys):
    code, out, err = at_once(capsys, "predict", cat(), "--model", shared(path))
    assert code == 2 and "gives a map" in one_line(err)
    assert ("simulate, compile and build take it" in err) == (refusal(Model.open(shared(path))) == "")


@needs_any
@pytest.mark.parametrize("verb", ["quantize", "compile", "verify"])
def test_the_way_of_other_integers_to_int8_is_no_circle(verb, capsys):
    code, out, err = at_once(capsys, verb, case("int16x8"))
    assert code == 2 and "mobilenet convert" in one_line(err) and "int16x8.tflite -o x.keras" in err
    assert "mobilenet quantize x.keras --photos DIR" in err


def test_a_table_of_boards_says_a_way_in_a_line(capsys):
    for name, way in (("f16", "mobilenet quantize FILE --photos DIR"), ("int16x8", "mobilenet convert FILE -o x.keras, then")):
        code, out, err = at_once(capsys, "boards", case(name), "--board", "pico")
        assert code == 1 and f"To make it int8: {way}" in out and "says:" not in out


def test_what_can_t_be_made_smaller_is_told_in_the_verb_s_words(tmp_path, capsys):
    code, out, err = at_once(capsys, "convert", case("twosig"), "-o", tmp_path / "x.tflite")
    assert code == 2 and "Use it as it is" in one_line(err) and "strip" not in err and not (tmp_path / "x.tflite").exists()


def test_a_folder_that_is_no_run(tmp_path, capsys):
    (tmp_path / "sm").mkdir()
    (tmp_path / "sm/saved_model.pb").write_bytes(b"x")
    code, out, err = at_once(capsys, "quantize", tmp_path / "sm")
    assert code == 2 and "is not a finished run but a SavedModel of TensorFlow" in one_line(err) and "mobilenet convert" in err
    code, out, err = at_once(capsys, "quantize", tmp_path / "none")
    assert code == 2 and "is not a finished run: it has no run.json. Train one with: mobilenet train PHOTOS --out" in one_line(err)
    code, out, err = at_once(capsys, "quantize", photos(tmp_path / "set", n=1))
    assert code == 2 and "(banana, lime)" in one_line(err) and "mobilenet train" in err


def test_a_broken_photo_is_told_before_anything_is_compiled(tmp_path, capsys, monkeypatch):
    def late(*args, **how):
        raise AssertionError("compiled first")
    for module in ("firmware", "libraries"):
        monkeypatch.setattr(f"mobilenet_keras.mcu.{module}.compiled_for", late)
    monkeypatch.setattr("mobilenet_keras.mcu.libraries.compile_model", late)
    (tmp_path / "bad.jpg").write_text("no photo")
    (tmp_path / "bad.npy").write_text("no array")
    model = example().save(tmp_path / "m.tflite")
    library = ["export", model, "--runtime", "engine", "--to", "cmake", "-o", tmp_path / "x"]
    for verb in (["build", model, "--board", "pico"], ["simulate", model, "--board", "pico"], library):
        for photo in ("bad.jpg", "bad.npy", "none.jpg"):
            code, out, err = at_once(capsys, *verb, "--photo", tmp_path / photo)
            assert code == 2 and photo in one_line(err), (verb, err)
    code, out, err = at_once(capsys, "simulate", model, "--board", "pico", "--input", tmp_path / "bad.npy")
    assert code == 2 and "bad.npy" in one_line(err)
    code, out, err = at_once(capsys, "simulate", model, "--board", "pico", "--photos", tmp_path / "none")
    assert code == 2 and "No such folder" in one_line(err)


@pytest.mark.parametrize("verb", ["build", "simulate", "flash"])
def test_a_board_without_firmware_has_a_library(verb, capsys):
    code, out, err = at_once(capsys, verb, "m.tflite", "--board", "esp32-s3")
    assert code == 2 and "mobilenet export MODEL.tflite --board esp32-s3 --runtime engine --to esp-idf" in one_line(err)


# Statements


@needs_tflm
def test_tflm_s_ops_are_those_of_the_installed_one():
    """Asked of the interpreter itself; the table is what it answers."""
    assert installed_ops() == set(TFLM_OPS) and len(TFLM_OPS) > 100 and set(CUSTOM_OPS) <= set(TFLM_OPS)
    assert TFLM_OPS["TFLite_Detection_PostProcess"] == "AddDetectionPostprocess"


def ssd():
    """The end of an SSD: boxes and scores of four anchors, and the op that picks the best."""
    from flatbuffers import flexbuffers
    options = flexbuffers.Dumps(dict(max_detections=2, max_classes_per_detection=1, detections_per_class=2, use_regular_nms=False,
                                     nms_score_threshold=.1, nms_iou_threshold=.5, num_classes=2, y_scale=10., x_scale=10., h_scale=5., w_scale=5.))
    ints = lambda *v: [np.int32(n) for n in v]  # noqa: E731
    anchors = np.array([[16, 16, 8, 8], [16, 48, 8, 8], [48, 16, 8, 8], [48, 48, 8, 8]], np.int8)
    tensor = lambda name, shape, kind=0, scale=None, zero=0, buffer=0: {0: ints(*shape), 1: np.int8(kind), 2: np.uint32(buffer), 3: name,  # noqa: E731
                                                                        **({4: {2: [np.float32(scale)], 3: [np.int64(zero)]}} if scale else {})}
    tensors = [tensor("boxes", (1, 4, 4), 9, .1), tensor("raw", (1, 4, 3), 9, .1), tensor("scores", (1, 4, 3), 9, 1 / 256, -128),
               tensor("anchors", (4, 4), 9, 1 / 64, 0, 1),
               tensor("where", (1, 2, 4)), tensor("what", (1, 2)), tensor("sure", (1, 2)), tensor("n", (1,))]
    ops = [{0: np.uint32(0), 1: ints(1), 2: ints(2), 3: np.uint8(0)},
           {0: np.uint32(1), 1: ints(0, 2, 3), 2: ints(4, 5, 6, 7), 5: bytes(options)}]
    codes = [{0: np.int8(14), 2: np.int32(2), 3: np.int32(14)}, {0: np.int8(32), 1: "TFLite_Detection_PostProcess", 2: np.int32(1), 3: np.int32(32)}]
    graph = {0: tensors, 1: ints(0, 1), 2: ints(4, 5, 6, 7), 3: ops, 4: "main"}
    return Model(flatbuffer_bytes(lambda _: {0: np.uint32(3), 1: codes, 2: [graph], 4: [{}, {0: anchors.tobytes()}]}, b"TFL3"), "ssd")


def test_lint_of_a_detector():
    found = lint_tflm(ssd())
    assert not [f for f in found.findings if "no such op" in f.what or "float" in f.what], found


@needs_tflm
@pytest.mark.parametrize("name", ["mobilenet_v1_0.25_128_quant"])
def test_tflm_takes_no_part_in_uint8(name):
    verdict = verify(shared(f"models/coral/{name}.tflite"))
    if len([r for r in verdict.rows if r["ran"] and r["kernels"] == "reference"]) < 2:
        pytest.skip("needs two reference interpreters")
    assert verdict.ok and "agree bit for bit" in verdict.reason
    assert "TFLM did not take part: it computes in int8, and this file has uint8 weights" in verdict.reason


def test_int16_is_no_float():
    with pytest.raises(MobileNetError, match="computes in integers, with activations of 16 bits"):
        verify(case("int16x8"))
