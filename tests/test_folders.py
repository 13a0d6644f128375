"""Folders as people bring them: each is read as it was meant, or refused with what was seen and what to do."""
import os
import unicodedata

import numpy as np
import pytest
from helpers import mobilenet, one_line
from PIL import Image

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.evaluation import labelled
from mobilenet_keras.folders import folder_layout, list_folder
from mobilenet_keras.photos import Photos

NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def make(folder, *names):
    """Photos of noise, and empty files where the name is no photo's."""
    rng = np.random.default_rng(0)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".jpg", ".png"):
            Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(path)
        else:
            path.touch()
    return folder


def many(*patterns, n=10):
    return [pattern.replace("#", str(i)) for pattern in patterns for i in range(n)]


IMPULSE = many("training/cat.#.jpg", "training/dog.#.jpg", "testing/cat.x#.jpg", "testing/dog.x#.jpg")


@pytest.mark.parametrize("names,said", [
    (IMPULSE, "testing/, training/ with files in them, and no class folders.*cat, dog as in cat.x0.jpg.*--labels-in-names"),
    (["train/1.jpg", "test/2.jpg"], "no class folders. Sort the photos"),
    (many("cat.#.jpg", "dog.#.jpg"), "0 class folders. If labels are in the names, as in cat.0.jpg.*--labels-in-names"),
    (many("cat/#.jpg", "dog/#.jpg", "val/cat/#.jpg", "val/dog/#.jpg"), "has val/ with folders in it.*cat/, dog/ beside it"),
    (many("train/cat/#.jpg", "train/dog/#.jpg", "more/cat/#.jpg"), "train/ with folders in it.*more/ beside it"),
    (many("val/cat/#.jpg", "test/cat/#.jpg"), "none for training"),
    (many(f"{NFC}/#.jpg", f"{NFD}/#.jpg", "tea/#.jpg"), "how café is spelled"),
    (many("images/train/#.jpg", "labels/train/#.txt"), "YOLO has them for a detector"),
    (many("train/images/#.jpg", "train/labels/#.txt", "valid/images/v#.jpg") + ["data.yaml"], "YOLO"),
    (many("images/train/#.jpg") + ["data.yaml"], "data.yaml"),
    (many("JPEGImages/#.jpg", "Annotations/#.xml"), "Pascal VOC has them for a detector"),
    (many("images/#.jpg") + ["annotations/instances.json"], "COCO"),
], ids=["Edge Impulse", "parts without classes", "one flat folder", "val beside classes", "more beside train", "no train", "two spellings",
        "YOLO", "Roboflow's YOLO", "data.yaml", "VOC", "COCO"])
def test_what_would_train_the_wrong_thing_is_an_error(tmp_path, names, said):
    make(tmp_path, *names)
    if "spelled" in said and len(os.listdir(tmp_path)) < 3:
        pytest.skip("this file system knows one spelling only")
    with pytest.raises(MobileNetError, match=said):
        Photos.from_folder(tmp_path, 16)


def test_the_command_tells_it_before_tensorflow_starts(tmp_path):
    make(tmp_path / "ei", *IMPULSE)
    code, _, err = mobilenet("train", tmp_path / "ei", "--out", tmp_path / "run")
    assert code == 2 and "--labels-in-names" in one_line(err) and not (tmp_path / "run").exists()
    code, _, err = mobilenet("train", make(tmp_path / "flat", *many("cat/#.jpg", "dog/#.jpg")), "--labels-in-names")
    assert code == 2 and "no label" not in one_line(err) and "at least two classes" in err


def test_labels_in_names(tmp_path):
    make(tmp_path, *IMPULSE, "training/readme.txt")
    photos = Photos.from_folder(tmp_path, 16, labels_in_names=True)
    assert photos.classes == ["cat", "dog"] and len(photos.test) == 20 and {p.name[:3] for p in photos.test.paths} == {"cat", "dog"}
    assert all(p.name.startswith(photos.classes[label]) for p, label in zip(photos.train.paths, photos.train.labels))
    assert [p.rsplit("/", 1)[-1] for p in photos.skipped] == ["readme.txt"]
    assert Photos.read(**photos.source).train.paths == photos.train.paths
    found, names, _ = labelled(tmp_path, None, ["dog", "cat"], 2, labels_in_names=True)
    assert len(found) == 20 and all(path.name.startswith(names[label]) for path, label in found)
    with pytest.raises(MobileNetError, match="holds folders"):
        folder_layout(make(tmp_path / "b", "train/cat/1.jpg"), labels_in_names=True)


@pytest.mark.parametrize("system", ["@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found"])
def test_what_a_system_keeps_is_left_out_and_told(tmp_path, system, capsys):
    """Synology's thumbnails lie in a folder below each folder of photos; a disk's waste lies beside the classes."""
    make(tmp_path, *many("cat/#.jpg", "dog/#.jpg"), f"{system}/1.jpg", f"cat/{system}/0.jpg/thumb.jpg")
    photos = Photos.from_folder(tmp_path, 16)
    assert photos.classes == ["cat", "dog"] and sum(map(len, (photos.train, photos.validation, photos.test))) == 20
    assert sorted(photos.skipped) == sorted(str(tmp_path / p) for p in (system, f"cat/{system}")) and "left out" in capsys.readouterr().err
    passed = {}
    assert len(labelled(tmp_path, None, ["cat", "dog"], 2, passed=passed)[0]) == 20 and not passed, "no photo is missing in an evaluation"


def test_hidden_folders_of_systems_stay_hidden(tmp_path):
    make(tmp_path, *many("cat/#.jpg", "dog/#.jpg"), "__MACOSX/cat/1.jpg", ".thumbnails/1.jpg", "dog/.thumbnails/1.jpg")
    assert Photos.from_folder(tmp_path, 16).classes == ["cat", "dog"]


def test_links_and_photos_beside_the_classes_are_listed(tmp_path):
    make(tmp_path / "a", *many("cat/#.jpg", "dog/#.jpg"), "lone.jpg", "notes.txt")
    make(tmp_path / "elsewhere", "1.jpg")
    (tmp_path / "a/cat/gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (tmp_path / "a/dog/more").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "a/dog/round").symlink_to(tmp_path / "a", target_is_directory=True)
    (tmp_path / "a/dog/one.jpg").symlink_to(tmp_path / "elsewhere/1.jpg")
    photos = Photos.from_folder(tmp_path / "a", 16)
    told = {p.rsplit("/", 1)[-1]: why for p, why in photos.skipped.items()}
    assert set(told) == {"lone.jpg", "gone.jpg", "more", "round"}
    assert "beside the class folders" in told["lone.jpg"] and "not there" in told["gone.jpg"] and "link to a folder" in told["more"]
    assert sum(map(len, (photos.train, photos.validation, photos.test))) == 21, "a link to a file is that file"


def test_one_name_whatever_its_spelling(tmp_path):
    """macOS unpacks NFD, Linux NFC: one part of each is one class, and a model trained on one is evaluated on the other."""
    make(tmp_path, *many(f"train/{NFC}/#.jpg", f"test/{NFD}/#.jpg", "train/tea/#.jpg"))
    listing = list_folder(tmp_path)
    assert listing.classes == (NFC, "tea") and listing.parts.count("test") == 10
    found, _, _ = labelled(tmp_path, None, ["tea", NFD], 2)
    assert {label for _, label in found} == {1}


def test_a_class_may_have_the_name_of_a_part(tmp_path):
    assert list_folder(make(tmp_path, *many("train/#.jpg", "bus/#.jpg"))).classes == ("bus", "train")


def test_unlabelled_test_photos_are_told(tmp_path):
    """Kaggle's way: train/ has class folders, test/ has photos that nobody labelled."""
    photos = Photos.from_folder(make(tmp_path, *many("train/cat/#.jpg", "train/dog/#.jpg"), "test/1.jpg"), 16)
    assert len(photos.test) == 0 and ["1.jpg"] == [p.rsplit("/", 1)[-1] for p in photos.skipped]
