"""Class names as tools write them, and 3,000 files that nobody wrote."""
import json
import os
import time

import numpy as np
import pytest
from conftest import shared
from helpers import at_once, one_line

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.tflite.builder import Builder, example
from mobilenet_keras.tflite.labels import MAX_BYTES, Labels, labels_beside, read_labels
from mobilenet_keras.tflite.model import Model, one_op_model

TEACHABLE = {"tfjsVersion": "1.3.1", "tmVersion": "2.4.5", "packageVersion": "0.8.4-alpha2", "packageName": "@teachablemachine/image",
             "timeStamp": "2024-01-01T00:00:00.000Z", "userMetadata": {}, "modelName": "tm-my-image-model",
             "labels": ["Cat", "Dog 2", "Nothing"], "imageSize": 224}


@pytest.mark.parametrize("text, classes, teachable", [
    ("Cat\nDog 2\nNothing\n", ("Cat", "Dog 2", "Nothing"), False),
    ("0 Cat\r\n1 Dog 2\r\n2 Nothing\r\n", ("Cat", "Dog 2", "Nothing"), True),     # Teachable Machine
    ("0  Cat\n1  Dog 2\n2  Nothing", ("Cat", "Dog 2", "Nothing"), False),         # Coral
    ("0: Cat\n1: Dog 2\n2: Nothing\n\n", ("Cat", "Dog 2", "Nothing"), False),
    ("2 Nothing\n0 Cat\n1 Dog 2", ("Cat", "Dog 2", "Nothing"), False),            # in the order of the numbers
    ("\ufeff0 Cat\n1 Dog 2\n2 Nothing", ("Cat", "Dog 2", "Nothing"), True),       # Windows' mark
    ("1 Cat\n2 Dog\n3 Nothing", ("1 Cat", "2 Dog", "3 Nothing"), False),          # not 0 to n - 1: parts of the names
    ("0 Cat\n0 Dog", ("0 Cat", "0 Dog"), False), ("0\n1\n2", ("0", "1", "2"), False), ("7 of hearts", ("7 of hearts",), False),
    ("  Katze  \nÄffchen 🐒\n", ("Katze", "Äffchen 🐒"), False)])
def test_forms(tmp_path, text, classes, teachable):
    (tmp_path / "labels.txt").write_bytes(text.encode())
    assert read_labels(tmp_path / "labels.txt") == Labels(classes, "labels.txt", teachable)


def test_metadata_json(tmp_path):
    path = tmp_path / "metadata.json"
    path.write_text(json.dumps(TEACHABLE))
    assert read_labels(path) == Labels(("Cat", "Dog 2", "Nothing"), "metadata.json", True, 224)
    path.write_text('["a", "b"]')
    assert read_labels(path) == Labels(("a", "b"), "metadata.json")
    path.write_text(json.dumps(TEACHABLE | {"imageSize": -1}))
    assert read_labels(path).image_size is None


def test_real_label_files():
    found = read_labels(shared("models/coral/imagenet_labels.txt"))
    assert len(found.classes) == 1001 and found.classes[:2] == ("background", "tench, Tinca tinca") and not found.teachable
    with pytest.raises(MobileNetError, match="Name 22 in .* is empty"):  # a text follows
        read_labels(shared("models/coral/pascal_voc_segmentation_labels.txt"))


@pytest.mark.parametrize("name, data, what", [
    ("labels.txt", b"", "names no class"), ("labels.txt", b"\n\n", "names no class"), ("labels.txt", b"a\n\nb", "Name 2"),
    ("labels.txt", b"a\0b", "is no name"), ("labels.txt", b"\xff\xd8\xff\xe0 a photo", "no text in UTF-8"),
    ("labels.txt", b"x" * (MAX_BYTES + 1), "more than 1,048,576 bytes"), ("labels.txt", b"x" * 301, "at most 300 letters"),
    ("labels.txt", b"\xff\xfea\0\n", "no text in UTF-8"), ("m.json", b"", "no JSON"), ("m.json", b"[" * 500_000, "no JSON"),
    ("m.json", b"{}", "no list of labels"), ("m.json", b'{"labels": {"0": "a"}}', "no list of labels"),
    ("m.json", b'{"labels": ["a", null]}', "Name 2"), ("m.json", b'{"labels": []}', "names no class")])
def test_what_is_no_list_of_names(tmp_path, name, data, what):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(MobileNetError, match=what):
        read_labels(tmp_path / name)


def test_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    for path, what in [("gone.txt", "No such file"), (".", "is a folder"), ("pipe.txt", "is no file"), ("a\0b", "can't be read")]:
        with pytest.raises(MobileNetError, match=what):
            read_labels(tmp_path / path)


def test_mutations_never_stray(tmp_path):
    """3,000 broken files: names as promised, or one sentence, at once."""
    rng, start = np.random.default_rng(0), time.process_time()
    seeds = [json.dumps(TEACHABLE).encode(), b"0 Cat\n1 Dog 2\n2 Nothing\n", "Füchse 🦊\nÄpfel\n".encode("utf-16")]
    outcomes = {"read": 0, "refused": 0}
    for i in range(3000):
        data = bytearray(seeds[i % 3])
        for at in rng.integers(0, len(data), 1 + i % 5):
            data[at] = rng.choice([0, 10, 13, 34, 44, 91, 92, 93, 123, 255, rng.integers(256)])
        if i % 4 == 0:
            data = data[:rng.integers(len(data))]
        path = tmp_path / ("m.json" if i % 3 == 0 else "labels.txt")
        path.write_bytes(data)
        try:
            found = read_labels(path)
        except MobileNetError as e:
            assert "\n" not in str(e) and len(str(e)) < 400
            outcomes["refused"] += 1
            continue
        outcomes["read"] += 1
        assert found.classes and all(isinstance(c, str) and c == c.strip() != "" and "\n" not in c and "\0" not in c for c in found.classes)
        if path.name == "labels.txt":
            assert labels_beside(tmp_path / "model.tflite", (len(found.classes),))[0] == found
    assert min(outcomes.values()) > 500 and time.process_time() - start < 8, outcomes


@pytest.fixture
def model(tmp_path):
    return example(classes=3).save(tmp_path / "pets.tflite")


@pytest.mark.parametrize("name", ["labels.txt", "pets_labels.txt", "labels_pets.txt", "imagenet_labels.txt",
                                  "labels_mobilenet_quant_v1_224.txt", "labelmap.txt"])
def test_names_beside_a_model(model, name, capsys):
    (model.parent / name).write_text("0: cat\n1: dog\n2: hen\n")
    (model.parent / "other_labels.txt").write_text("x\n")
    found = Model.open(model)
    assert found.classes == ["cat", "dog", "hen"] == found.classes
    assert capsys.readouterr().err == f"The classes' names are those of {name} beside pets.tflite.\n", "said once"
    assert found.with_metadata().classes == ["cat", "dog", "hen"], "inside from now on"
    assert found.preprocessing is None


def test_names_that_do_not_fit(model, capsys):
    (model.parent / "labels.txt").write_text("cat\ndog\n")
    assert Model.open(model).classes is None
    assert capsys.readouterr().err == "labels.txt beside pets.tflite is not used: it names 2 classes, and the model has 3.\n"
    (model.parent / "labels.txt").write_bytes(b"\xff\xd8")
    assert Model.open(model).classes is None and "is not used: " in capsys.readouterr().err
    (model.parent / "labels.txt").unlink()
    for name in "ab":
        (model.parent / f"{name}_labels.txt").write_text(f"{name}\n1st\n2nd")
    assert Model.open(model).classes is None
    assert "a_labels.txt and b_labels.txt beside pets.tflite name as many classes as it has, so neither is used" in capsys.readouterr().err
    own = Model.open(model).with_metadata(["x", "y", "z"]).save(model)
    capsys.readouterr()
    (model.parent / "labels.txt").write_text("cat\ndog\nhen")
    assert Model.open(own).classes == ["x", "y", "z"] and capsys.readouterr().err == "", "the file's own go first"


def test_teachable_machine_crops(model):
    (model.parent / "metadata.json").write_text(json.dumps(TEACHABLE))
    found = Model.open(model)
    assert found.classes == TEACHABLE["labels"] and found.preprocessing.resize == "crop" and "as Teachable Machine does" in found.assumed
    (model.parent / "metadata.json").unlink()
    (model.parent / "labels.txt").write_text("0 Cat\n1 Dog\n2 Nothing\n")
    assert Model.open(model).preprocessing.resize == "crop"
    assert Model.open(model).described(resize="stretch").preprocessing.resize == "stretch"
    assert Model.open(model).described(labels=["a", "b", "c"]).preprocessing is None, "other names, another source"
    assert Model.open(model).described(labels=model.parent / "labels.txt").preprocessing.resize == "crop"


def test_one_probability_has_two_names(tmp_path):
    model = Model.open(Builder((1, 16, 16, 3)).conv(8, 3, 2).mean().dense(1).logistic().model().save(tmp_path / "m.tflite"))
    (tmp_path / "labels.txt").write_text("person")
    assert model.classes == ["not person", "person"] == model.described(["person"]).classes
    assert model.described(["no", "yes"]).classes == ["no", "yes"]
    with pytest.raises(MobileNetError, match="names 3 classes, and m has 2 or 1"):
        model.described(list("abc"))


def test_the_background_is_told():
    google = Model(one_op_model((1, 32, 32, 3), 22, out=(1, 1001)), "google")
    with pytest.raises(MobileNetError, match="1,000 classes, and google has 1,001.*add a first line, background"):
        google.described([str(i) for i in range(1000)])


def test_on_the_command_line(model, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from PIL import Image
    Image.new("RGB", (40, 30), "navy").save(tmp_path / "a.png")
    code, out, err = at_once(capsys, "predict", "a.png", "--model", "pets.tflite")
    assert code == 0 and " 0 " in out.replace(":", " ").replace(",", " ")
    (tmp_path / "mine.txt").write_text("cat\ndog\nhen")
    code, out, err = at_once(capsys, "classify", "a.png", "--model", "pets.tflite", "--labels", "mine.txt", "--resize", "crop", "--scale", "signed")
    assert code == 0 and err == "" and "cat" in out and "dog" in out
    code, out, err = at_once(capsys, "compile", "pets.tflite", "--labels", "mine.txt", "--resize", "pad", "-o", "m.mbn")
    data = (tmp_path / "m.mbn").read_bytes()
    assert code == 0 and b"cat\0dog\0hen" in data and b'"resize":"pad"' in data, "the board knows them, too"
    (tmp_path / "two.txt").write_text("a\nb")
    for flags, what in [(["--labels", "gone.txt"], "No such file of labels"), (["--labels", "a.png"], "no text"), (["--labels", "."], "is a folder"),
                        (["--resize", "squash"], "as stretch:0.875"), (["--resize", "crop:2"], "as stretch:0.875"),
                        (["--scale", "loud"], "invalid choice"), (["--labels", "two.txt"], "names 2 classes, and pets has 3")]:
        code, out, err = at_once(capsys, "predict", "a.png", "--model", "pets.tflite", *flags)
        assert code == 2 and out == "" and what in one_line(err)
