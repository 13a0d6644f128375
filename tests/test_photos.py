"""Folders of photos as people have them: hidden copies, odd names, broken files."""
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from small_finding import written

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.photos import Photos, annotated_part
from mobilenet_keras.preprocessing import Preprocessing


@pytest.fixture
def folder(tmp_path):
    """Two classes of ten photos."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(10):
            Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(tmp_path / name / f"{name}{i}.png")
    return tmp_path


def read(folder):
    """All files that `Photos.from_folder` used."""
    photos = Photos.from_folder(folder, image_size=16)
    return photos, [p for part in (photos.train, photos.validation, photos.test) for p in part.paths]


def test_hidden_folders_are_hidden(folder):
    for hidden in (".ipynb_checkpoints", "__MACOSX"):
        (folder / "cat" / hidden).mkdir()
        (folder / "cat" / hidden / "cat0.png").write_bytes((folder / "cat/cat0.png").read_bytes())
    photos, used = read(folder)
    assert len(used) == 20 and photos.classes == ["cat", "dog"]


def test_odd_file_names_and_broken_files(folder):
    """A superscript two is a digit to some; a DDS file with unknown flags raises what no image should."""
    os.rename(folder / "cat/cat0.png", folder / "cat/1²2.png")
    (folder / "dog/broken.dds").write_bytes(b"DDS " + (124).to_bytes(4, "little") + bytes(68) + (32).to_bytes(4, "little") + b"\x80" + bytes(60))
    (folder / "dog/empty.jpg").write_bytes(b"")
    photos, used = read(folder)
    assert len(used) == 20 and len(photos.skipped) == 2


def test_the_split_does_not_depend_on_the_order_of_the_file_system(folder, monkeypatch):
    first = read(folder)[1]
    real = os.walk
    monkeypatch.setattr(os, "walk", lambda *a, **k: ((here, below[::-1], files[::-1]) for here, below, files in real(*a, **k)))
    assert read(folder)[1] == first


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_can_not_be_read_is_told(folder):
    (folder / "cat/locked").mkdir(mode=0)
    with pytest.raises(MobileNetError, match="locked can't be read"):
        read(folder)


def test_a_near_duplicate_never_straddles_a_split(tmp_path):
    """Copies at other sizes, brightness and quality, numbered so that they are no neighbours; and a pair with two labels."""
    rng = np.random.default_rng(0)
    scenes = [Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((96, 96)) for _ in range(40)]
    for k, name in enumerate(("cat", "dog")):
        (tmp_path / name).mkdir()
        for i in range(20):
            scenes[k * 20 + i].save(tmp_path / name / f"{i}.png")
            if i < 8:
                scenes[k * 20 + i].point(lambda v: v * .8).resize((70, 60)).save(tmp_path / name / f"{900 - 40 * i}.jpg", quality=60)
    scenes[0].resize((200, 200)).save(tmp_path / "dog/500.jpg")
    apart = []
    for seed in range(12):
        photos = Photos.from_folder(tmp_path, image_size=32, seed=seed)
        where = {str(p.relative_to(tmp_path)): part for part in ("train", "validation", "test") for p in getattr(photos, part).paths}
        for name in ("cat", "dog"):
            assert all(where[f"{name}/{i}.png"] == where[f"{name}/{900 - 40 * i}.jpg"] for i in range(8))
            assert {where[p] for p in where if p.startswith(name)} == {"train", "validation", "test"}
        assert where["dog/500.jpg"] == where["cat/0.png"]
        loose = Photos.from_folder(tmp_path, image_size=32, seed=seed, group=False)
        where = {str(p.relative_to(tmp_path)): part for part in ("train", "validation", "test") for p in getattr(loose, part).paths}
        apart += [where[f"cat/{i}.png"] != where[f"cat/{900 - 40 * i}.jpg"] for i in range(8)]
    assert any(apart), "without groups some pairs straddle, so the test above can fail"
    assert len(photos.duplicates) == 16 and "16 clusters; none of them in two parts, 1 with two labels" in photos.duplicate_report()


@pytest.mark.parametrize("group", [r"(p\d)_", lambda path: path.name[:2]], ids=["regex", "callable"])
def test_groups_stay_together(tmp_path, group):
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(24):
            Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(tmp_path / name / f"p{i % 6}_{i}.png")
    for seed in range(5):
        photos = Photos.from_folder(tmp_path, image_size=16, seed=seed, group=group)
        people = [{p.name[:2] for p in part.paths} for part in (photos.train, photos.validation, photos.test)]
        assert all(people) and sum(map(len, people)) == 6, people
    assert (photos.source is None) == callable(group)
    if photos.source:
        assert Photos.from_folder(**photos.source).test.paths == photos.test.paths
    for bad, message in [("(", "regular expression"), ("nobody", "matches none")]:
        with pytest.raises(MobileNetError, match=message):
            Photos.from_folder(tmp_path, group=bad)


def test_a_class_of_one_scene_is_told_and_trained(tmp_path, capsys):
    rng = np.random.default_rng(0)
    scene = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((64, 64))
    for name in ("burst", "dog"):
        (tmp_path / name).mkdir()
        for i in range(10):
            image = scene if name == "burst" else Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
            image.save(tmp_path / name / f"{i}.png")
    photos = Photos.from_folder(tmp_path, image_size=32)
    assert photos.train.counts()["burst"] == 10 and photos.test.counts()["dog"] >= 1
    assert "'burst' has no test photos" in capsys.readouterr().err


def test_huge_photos_and_sideways_ones(folder, monkeypatch):
    """A photo above the limit is skipped unread; one that a camera held sideways stands upright."""
    from mobilenet_keras import preprocessing
    monkeypatch.setattr(preprocessing, "MAX_PIXELS", 2000)
    Image.new("RGB", (200, 20), "red").save(folder / "cat/wide.png")
    sideways = Image.new("RGB", (40, 20), "black")
    sideways.paste("white", (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise: its left becomes its top
    sideways.save(folder / "dog/sideways.jpg", exif=exif, quality=95)
    photos, used = read(folder)
    assert [p.rsplit("/", 1)[-1] for p in map(str, photos.skipped)] == ["wide.png"] and "2,000 pixels" in next(iter(photos.skipped.values()))
    part = next(p for p in (photos.train, photos.validation, photos.test) if folder / "dog/sideways.jpg" in p.paths)
    pixels = part.pixels[part.paths.index(folder / "dog/sideways.jpg")]
    assert pixels[:6].min() > 200 and pixels[10:].max() < 55


@pytest.mark.parametrize("make,message", [
    (lambda d: None, "at least two class folders"), (lambda d: (d / "cat").mkdir(), "1 class folder cat"),
    (lambda d: [(d / n).mkdir() for n in ("cat", "dog")], "no files"),
    (lambda d: [(d / n).mkdir() or (d / n / "a.txt").write_text("no photo") for n in ("cat", "dog")], "'cat' has too few readable photos"),
    (lambda d: [(d / n).mkdir() or (d / n / "a.txt").write_text("no photo") for n in ("Cat", "cat")], "differ only in case"),
], ids=["nothing", "one class", "empty classes", "no images", "case"])
def test_what_can_not_be_divided_is_told(tmp_path, make, message):
    make(tmp_path)
    if message == "differ only in case" and len(os.listdir(tmp_path)) < 2:
        pytest.skip("this file system does not tell Cat from cat")
    with pytest.raises(MobileNetError, match=message):
        Photos.from_folder(tmp_path, image_size=16)


def test_the_last_run_learns_from_the_validation_photos_too(folder, capsys):
    once, again = (Photos.from_folder(folder, image_size=16, refit=refit) for refit in (False, True))
    assert "only the test photos judge" in capsys.readouterr().err
    assert set(again.train.paths) == {*once.train.paths, *once.validation.paths} and again.validation.paths == once.validation.paths
    assert again.test.paths == once.test.paths and len(again.train.large) == len(again.train)
    assert Photos.from_folder(**again.source).train.paths == again.train.paths and "refit" not in once.source


def test_arrays_are_checked_pair_by_pair():
    """A label too many here and one too few there would shift what is tested."""
    x, y = np.random.default_rng(0).integers(0, 256, (70, 8, 8, 3), np.uint8), np.arange(70) % 2
    for train, test, message in [((x[:30], y[:40]), (x[30:], y[40:]), "30 photos and 40 labels"), ((x, y + .5), None, "whole numbers"),
                                 ((x, y.astype(str)), None, "whole numbers"), ((x, np.eye(2)[y]), None, "whole numbers"),
                                 ((x, np.where(y, np.nan, 0)), None, "whole numbers"), ((x / 255., y), None, "floating|uint8")]:
        with pytest.raises(MobileNetError, match=message):
            Photos.from_arrays(train, test)
    for classes, message in [(["a", "A"], "only in case"), (["a", "a"], "only in case"), (["a\nb", "c"], "can't be written"), (2, "names")]:
        with pytest.raises(MobileNetError, match=message):
            Photos.from_arrays((x, y), classes=classes)


def test_numbers_of_numpy_and_patterns_go_into_a_run(tmp_path):
    for k, name in enumerate(("dark", "light")):
        (tmp_path / name).mkdir()
        for i in range(8):
            Image.fromarray(np.random.default_rng(i).integers(0, 128 + 100 * k, (16, 16, 3), np.uint8)).save(tmp_path / name / f"p{i}.png")
    photos = Photos.from_folder(tmp_path, np.int64(16), validation=np.float32(.2), seed=np.int64(1), group=re.compile(r"p\d"),
                                augment_scale=np.float32(1.5))
    assert Photos.from_folder(**json.loads(json.dumps(photos.source))).train.paths == photos.train.paths
    assert Photos.from_folder(tmp_path, 16, group=re.compile("P.", re.IGNORECASE)).source is None


def test_many_photos_lie_in_a_file_and_nothing_else_changes(folder, monkeypatch, tmp_path_factory):
    """The same parts, pixels, digest and clean-up as in memory; the file has no name, so a kill leaves nothing behind."""
    from mobilenet_keras import photos as module
    from mobilenet_keras.run import data_digest
    (folder / "dog/broken.jpg").write_bytes(b"no photo")
    few = Photos.from_folder(folder, image_size=16)
    monkeypatch.setattr(module, "IN_MEMORY", 0)
    monkeypatch.setattr(module.tempfile, "tempdir", str(tmp_path_factory.mktemp("empty")))
    many = Photos.from_folder(folder, image_size=16)
    assert isinstance(few.train.pixels, np.ndarray) and isinstance(many.train.pixels, module.Pixels)
    assert os.listdir(module.tempfile.tempdir) == []
    assert data_digest(few) == data_digest(many) and few.test.paths == many.test.paths
    for name in ("train", "validation", "test"):
        a, b = getattr(few, name), getattr(many, name)
        np.testing.assert_array_equal(a.pixels, np.asarray(b.pixels))
        np.testing.assert_array_equal(a.pixels[::-1], b.pixels[::-1])
        assert a[0].pixels.tobytes() == b[0].pixels.tobytes() and b.pixels.shape == a.pixels.shape
    np.testing.assert_array_equal(few.train.large, np.asarray(many.train.large))
    np.testing.assert_array_equal(few.subsample(3).train.pixels, many.subsample(3).train.pixels[:])
    assert str(few) == str(many) and few.contact_sheet().tobytes() == many.contact_sheet().tobytes()


def test_reading_takes_the_memory_of_the_names(tmp_path):
    """1,500 photos whose pixels would be 130 MB: the process grows by a fraction of that."""
    pytest.importorskip("resource", reason="Windows counts memory in another way")
    rng = np.random.default_rng(0)
    for k in range(2):
        (tmp_path / str(k)).mkdir()
        for i in range(750):
            Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).save(tmp_path / str(k) / f"{i}.png")
    code = ("import resource, sys; from mobilenet_keras import photos\nphotos.IN_MEMORY = 0\n"
            "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\nbefore = peak()\n"
            "made = photos.Photos.from_folder(sys.argv[1], 96); n = made.train.pixels[range(64)]; print(peak() - before, len(made.train))")
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    grown, n = map(int, done.stdout.split())
    assert n > 1000 and grown < 40_000, "KB"


def test_the_disk_is_asked_first(folder, monkeypatch):
    from mobilenet_keras import photos as module
    monkeypatch.setattr(module, "IN_MEMORY", 0)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(MobileNetError, match="Set TMPDIR to a folder on a larger disk"):
        read(folder)


def test_a_single_test_photo_is_told(folder, capsys):
    for i in range(4, 10):
        os.remove(folder / f"dog/dog{i}.png")
    Photos.from_folder(folder, image_size=16, group=False)
    assert "Class 'dog' has one test photo: its accuracy there can only be 0 or 100 %" in capsys.readouterr().err


def test_what_training_has_seen_is_known_in_the_test_part(tmp_path):
    """Folders that hold a photo and its copy in two parts: the accuracy is given without the copy, too; and clean() tells it."""
    from mobilenet_keras.evaluation import Evaluation
    rng = np.random.default_rng(0)
    scenes = [Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((96, 96)) for _ in range(40)]
    for i, scene in enumerate(scenes):
        path = tmp_path / ("test" if i % 4 == 0 else "train") / ("cat" if i % 2 else "dog" if i % 8 else "cat") / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        scene.save(path)
    scenes[1].resize((60, 60)).save(tmp_path / "test/cat/copy.jpg")
    scenes[3].resize((60, 60)).save(tmp_path / "train/dog/wrong.jpg")
    photos = Photos.from_folder(tmp_path, 32)
    known = [p.name for p, seen in zip(photos.test.paths, photos.test.known) if seen]
    assert known == ["copy.jpg"] and photos.train.known.all()
    suspects = photos.clean()
    told = [(s.what, sorted(suspects.photo(w).path.name for w in s.where)) for s in suspects]
    assert told == [("two labels", ["3.png", "wrong.jpg"]), ("two parts", ["1.png", "copy.jpg"])]
    text, html = str(suspects), suspects._repr_html_()
    assert text.index("two labels") < text.index("two parts") and f"cat (test) {tmp_path}/test/cat/copy.jpg" in text and "delete one of them" in text
    assert html.count("<img") == 4 and "cat (test)" in html and "move the wrong one" in html
    scores = np.eye(2)[photos.test.labels]
    scores[photos.test.known] = 1 - scores[photos.test.known]
    found = Evaluation("toy", photos.classes, photos.test.labels, scores, list(photos.test.paths), known=photos.test.known)
    n = len(photos.test)
    assert found.accuracy == (n - 1) / n and found.unlike_training()["accuracy"] == 1 and found.to_dict()["unlike_training"]["n"] == n - 1
    assert "without 1 that resemble a training photo 100.0%" in str(found)
    sure = np.where(photos.train.labels[:, None] == [0, 1], .1, .9) * (np.arange(len(photos.train)) == 2)[:, None]

    class Run:
        def evaluate(self, part):
            return Evaluation("toy", photos.classes, part.labels, sure if part is photos.train else np.eye(2)[part.labels], list(part.paths))
    assert photos.clean(Run())[0].what == "label" and photos.clean(Run())[0].where == [("train", 2)]


def test_no_copies_nothing_to_clean(folder):
    photos = Photos.from_folder(folder, image_size=16)
    assert str(photos.clean()) == "Nothing suspicious was found." and "Nothing suspicious" in photos.clean()._repr_html_()
    assert Photos.from_folder(folder, image_size=16, group=False).train.known is None


@pytest.mark.parametrize("mode,batch", [("int", 8), ("categorical", 8), ("binary", 8), ("categorical", None)])
def test_what_keras_reads_from_a_folder(tensorflow, folder, mode, batch):
    """`image_dataset_from_directory`: floats 0..255, class_names, every kind of label, in batches or one by one."""
    import keras
    made = keras.utils.image_dataset_from_directory(str(folder), label_mode=mode, image_size=(20, 30), batch_size=batch, shuffle=False, verbose=False)
    photos = Photos.from_dataset(made, group=False)
    assert photos.classes == ["cat", "dog"] and photos.preprocessing.shape == (20, 30, 3)
    files = [str(p) for p in made.file_paths]
    for part in (photos.train, photos.validation):
        for photo in part:
            file = files[int(photo.path.split()[1])]
            assert photo.name in file and np.array_equal(photo.pixels, np.asarray(Image.open(file)))


def test_training_says_how_a_dataset_becomes_photos(tensorflow):
    from small_training import tiny

    from mobilenet_keras.training.fine_tune import fine_tune
    dataset = tensorflow.data.Dataset.from_tensor_slices((np.zeros((4, 12, 12, 3), np.uint8), [0, 1, 0, 1])).batch(2)
    with pytest.raises(MobileNetError, match=r"photos = Photos.from_dataset\(train\)"):
        fine_tune(tiny(0), dataset)


def test_choices_are_told_by_name(folder):
    with pytest.raises(MobileNetError, match="Received: 'size'"):
        Photos.read(folder, size=32)
    assert Photos.read(folder, 16, "crop", 1, .2).preprocessing == Photos.from_folder(folder, 16, "crop", 1, .2).preprocessing


def test_a_contact_sheet_shows_the_balance():
    """A bar for each class, as long as its photos are many."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [40, 10])
    photos = Photos.from_arrays((rng.integers(0, 256, (50, 8, 8, 3), np.uint8), labels), classes=["many", "few"], group=False)
    sheet = np.asarray(photos.contact_sheet(side=72))
    blue = [int((sheet[row * 76:row * 76 + 72, :110] == (70, 130, 180)).all(-1).any(0).sum()) for row in range(2)]
    many, few = photos.train.counts().values()
    assert blue[0] == 97 and abs(blue[1] - 97 * few / many) < 2


def test_annotated_photos_are_taken_for_the_classes_of_a_model(tmp_path):
    """One that is not annotated has no things, others are passed over, and photos of those show nothing."""
    folder = written(tmp_path / "squares", 6)
    part = annotated_part(folder, Preprocessing(32, 32), ("none", "dark"))
    assert part.counts() == dict(none=0, dark=(folder / "test/boxes.csv").read_text().count("dark")) and part.classes == ("none", "dark")
    assert len(part) == 6 and 0 in map(len, part.truth)
    with pytest.raises(MobileNetError, match=r"none of the model's classes \(none\). It has: bright, dark"):
        annotated_part(folder, Preprocessing(32, 32), ("none",))
    assert "labels" not in Photos.from_annotations(folder, 32, augment_scale=1, group=None).duplicate_report()
