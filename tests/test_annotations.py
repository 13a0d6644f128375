"""Every format gives back the boxes that were written; what is wrong with a file is told; what is hostile is refused."""
import json
import os
import time
from collections import Counter

import numpy as np
import pytest
from annotation_sets import CARDS, WRITERS, by_photo, cards_table, coco, small_table, write_coco, write_voc, write_yolo
from conftest import shared
from helpers import mutations
from PIL import Image

from mobilenet_keras.annotations import list_annotations, list_visual_wake_words
from mobilenet_keras.core import MobileNetError


def same_boxes(found, rows):
    """Whether what was read is what a table says, photo by photo, to 1e-6."""
    wanted = {(part, file.name): things for (part, file, _), things in by_photo(rows).items()}
    sizes = {(part, file.name): size for (part, file, size), _ in by_photo(rows).items()}
    assert {(p, f.name) for p, f in zip(found.parts, found.files)} == wanted.keys()
    for file, part, truth, size in zip(found.files, found.parts, found.truth, found.sizes):
        key = part, file.name
        assert [found.classes[i] for i in truth.labels] == [name for name, _ in wanted[key]]
        w, h = sizes[key]
        assert size in (None, (w, h))
        assert abs(truth.xyxy - np.array([c for _, c in wanted[key]]) / [w, h, w, h]).max() < 1e-6


def test_real_cards():
    """Counts of its README; each box as its CSV says."""
    folder = shared("data/cards")
    found = list_annotations(folder)
    assert (found.kind, found.format, found.classes, found.skipped, found.problems) == ("boxes", "CSV", sorted(CARDS), {}, [])
    assert Counter(found.parts) == {"train": 293, "test": 70}
    assert found.counts("train") == dict(ace=96, jack=88, king=93, nine=95, queen=86, ten=82)
    assert found.counts("test") == dict(ace=22, jack=25, king=25, nine=20, queen=20, ten=18)
    same_boxes(found, cards_table(folder))


def test_real_nuclei():
    """Counts and shares of its README, for masks and for the boxes that are there, too."""
    folder = shared("data/nuclei")
    found = list_annotations(folder)
    assert (found.kind, found.classes, found.skipped) == ("masks", ["background", "foreground"], {}) and "kind=" in found.problems[0][1]
    assert Counter(found.parts) == {"train": 528, "test": 136} and all(t.parent.name == "masks" for t in found.truth)
    for part, share in (("train", .138), ("test", .150)):
        shares = [found.mask(i).mean() for i, p in enumerate(found.parts) if p == part]
        assert abs(np.mean(shares) - share) < .0005, "a mean of photos"
    boxes = list_annotations(folder, kind="boxes")
    assert boxes.counts("train") == dict(nucleus=22_741) and boxes.counts("test") == dict(nucleus=6_245)


@pytest.mark.parametrize("format", WRITERS)
def test_cards_in_every_format(format, tmp_path):
    """The real boxes, written as another format has them."""
    rows = [row for row in cards_table(shared("data/cards"))][::4]
    found = list_annotations(WRITERS[format](tmp_path / "set", rows))
    assert found.format == ("COCO" if format == "Roboflow" else format) and not found.skipped
    assert all("DontCare" in what or "family" in what or "families" in what or "no folder" in what for _, what in found.problems), found.problems
    same_boxes(found, rows)


@pytest.mark.parametrize("format", WRITERS)
def test_small_sets_in_every_format(format, tmp_path):
    """The same without the real photos."""
    rows = small_table(tmp_path / "from")
    found = list_annotations(WRITERS[format](tmp_path / "set", rows))
    same_boxes(found, rows)
    some = list_annotations(tmp_path / "set", classes=["queen", "ace"])
    assert some.classes == ["queen", "ace"] and some.counts() == {n: found.counts()[n] for n in ("queen", "ace")} and len(some) == len(found)
    with pytest.raises(MobileNetError, match="no class called 'joker'"):
        list_annotations(tmp_path / "set", classes=["joker"])
    some = list_annotations(tmp_path / "set", classes=["joker", "ace"])
    assert some.classes == ["joker", "ace"] and some.counts() == dict(joker=0, ace=found.counts()["ace"])
    assert any("'joker', which was wanted" in what for _, what in some.problems)


def test_pycocotools_reads_the_same(tmp_path):
    """COCO's own library, on the real boxes."""
    judge = pytest.importorskip("pycocotools.coco")
    root = write_coco(tmp_path / "set", cards_table(shared("data/cards"))[::3])
    found = list_annotations(root)
    for part in ("train", "test"):
        theirs = judge.COCO(str(root / f"annotations/instances_{part}2017.json"))
        ours = {f.name: t for f, t, p in zip(found.files, found.truth, found.parts) if p == part}
        assert len(ours) == len(theirs.imgs)
        for i, image in theirs.imgs.items():
            things = theirs.loadAnns(theirs.getAnnIds(imgIds=i))
            boxes = ours[image["file_name"]]
            assert [found.classes[k] for k in boxes.labels] == [theirs.cats[a["category_id"]]["name"] for a in things]
            corners = np.array([[x, y, x + w, y + h] for x, y, w, h in (a["bbox"] for a in things)])
            assert abs(boxes.xyxy * np.tile([image["width"], image["height"]], 2) - corners).max() < 1e-3


def photo(path, size=(60, 40), **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "teal").save(path, **how)
    return path


def told(found):
    """All that is said about a set, without the folders' names."""
    return [f"{os.path.basename(f)}: {what}" for f, what in found.problems] + [f"{os.path.basename(f)}: {why}" for f, why in found.skipped.items()]


FAULTS = {  # corners in a photo of 60x40, what is said, whether the box stays
    "inverted": ((30, 5, 10, 20), "is inverted", False), "empty": ((10, 5, 10, 20), "is empty", False),
    "outside": ((70, 5, 90, 20), "lies outside", False), "clipped": ((50, 5, 90, 20), "clipped", True),
    "nan": ((float("nan"), 5, 90, 20), "no number", False), "infinite": ((1, 5, float("inf"), 20), "no number", False),
    "twice": ((3., 5.5, 30., 20.), "is there twice", False)}


@pytest.mark.parametrize("format", WRITERS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_box_that_can_not_be_is_told(format, fault, tmp_path):
    """In every format the same: dropped or clipped, told by its photo, and the others stay."""
    rows = small_table(tmp_path / "from", 3)
    corners, said, stays = FAULTS[fault]
    part, file, name, _, size = rows[0]
    found = list_annotations(WRITERS[format](tmp_path / "set", [*rows, (part, file, name, corners, size)]))
    assert sum(map(len, found.truth)) == len(rows) + stays
    mine = [what for f, what in found.problems if os.path.basename(f) == file.name and "Box 2" in what]
    assert len(mine) == 1 and said in mine[0], found.problems


def test_what_is_missing_is_told(tmp_path):
    rows = small_table(tmp_path / "from")
    root = write_voc(tmp_path / "voc", rows)
    (root / "JPEGImages/2.jpg").unlink()
    (root / "JPEGImages/1.jpg").write_bytes(b"\xff\xd8 no photo")
    photo(root / "JPEGImages/new.jpg")
    found = list_annotations(root)
    assert len(found) == 2 and sorted(told(found)) == [
        "1.jpg: " + str(root / "JPEGImages/1.jpg") + " is not an image that Pillow can read.", "2.xml: " + str(root / "Annotations/2.xml")
        + " names '2.jpg', which is not there.", "new.jpg: " + str(root / "JPEGImages/new.jpg") + " has no XML file that annotates it."]
    root = write_yolo(tmp_path / "yolo", rows)
    (root / "labels/train/0.txt").write_text("9 .5 .5 .1 .1\n1 .5 .5 .1\nace .5 .5 .1 .1\n2 .1 .1 .5 .1 .5 .6 .1 .6\n1 .5 .5 .1 .1 .9\n")
    (root / "labels/train/1.txt").unlink()
    (root / "labels/train/stray.txt").write_text("")
    found = list_annotations(root)
    at = [f.name for f in found.files].index("0.jpg")
    assert abs(found.truth[at].xyxy - [[.1, .1, .5, .6]]).max() < 1e-6 and found.truth[at].labels.tolist() == [2]
    assert len(found.truth[at + 1]) == 0
    wanted = ["Line 1 is of class 9", "Line 2 has 4 values", "Line 3 holds what is no number", "Line 5 has 6 values", "1 outlines",
              "was taken as a photo without things", "has no photo"]
    assert len(told(found)) == len(wanted) and all(words in line for line, words in zip(told(found), wanted)), told(found)


def test_a_photo_is_annotated_once_and_has_its_own_size(tmp_path):
    """A photo in two parts is a leak; one that was resized is true in shares, one that was cut is not."""
    rows = small_table(tmp_path / "from")
    root = write_coco(tmp_path / "set", rows)
    data = coco([*by_photo(rows).items()][:1], "../train2017/")
    (root / "annotations/instances_val2017.json").write_text(json.dumps(data))
    photo(root / "train2017/1.jpg", (120, 80))
    photo(root / "train2017/2.jpg", (40, 40))
    found = list_annotations(root)
    assert [f.name for f in found.files] == ["3.jpg", "0.jpg", "1.jpg"] and found.parts == ["test", "train", "train"]
    said = told(found)
    for start, words in (("0.jpg", "again in"), ("1.jpg", "is 120x80, and annotated as 60x40: it was resized"), ("2.jpg", "other proportions")):
        assert sum(s.startswith(start) and words in s for s in said) == 1, said


@pytest.mark.parametrize("turn", range(1, 9))
def test_boxes_follow_the_camera(turn, tmp_path):
    """A box around a red field, drawn on the rows of the file: on the upright photo it is around the field again, where that can be known."""
    from mobilenet_keras.preprocessing import open_photo
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[5:15, 10:30, 0] = 255
    (exif := Image.Exif())[0x0112] = turn
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    (tmp_path / "b.csv").write_text("file,class,x1,y1,x2,y2,width,height\na.png,red,10,5,30,15,60,40\n")
    found = list_annotations(tmp_path)
    upright = np.asarray(open_photo(tmp_path / "a.png"))[..., 0] > 0
    rows, columns = np.flatnonzero(upright.any(1)), np.flatnonzero(upright.any(0))
    wanted = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]) / np.tile(upright.shape[::-1], 2)
    if turn in (2, 3, 4):
        assert "taken as one of the upright photo" in found.problems[0][1]
    else:
        assert abs(found.truth[0].xyxy[0] - wanted).max() < 1e-6 and not found.problems and found.sizes == [upright.shape[::-1]]


def test_masks(tmp_path):
    """Classes with names, a palette, void, a value without a name, sizes that differ, what is missing."""
    rng = np.random.default_rng(0)
    values = {f"train/{i}": rng.integers(0, 3, (40, 60)).astype(np.uint8) for i in range(3)} | {"val/9": np.zeros((40, 60), np.uint8)}
    for name, v in values.items():
        photo(tmp_path / f"images/{name}.jpg")
        (tmp_path / f"masks/{name}.png").parent.mkdir(parents=True, exist_ok=True)
        (mask := Image.fromarray(v, "P")).putpalette(bytes(range(256)) * 3)
        mask.save(tmp_path / f"masks/{name}.png")
    found = list_annotations(tmp_path)
    assert found.classes == ["background", "1", "2"] and found.parts == ["train"] * 3 + ["validation"]
    assert all((found.mask(i) == values[f"{f.parent.name}/{f.stem}"]).all() for i, f in enumerate(found.files))
    assert found.counts("validation") == {"background": 1, "1": 0, "2": 0}
    (tmp_path / "classes.txt").write_text("leaf\nstem\n")
    odd = values["train/0"].copy()
    odd[0, :3] = 255, 7, 7
    Image.fromarray(odd).save(tmp_path / "masks/train/0.png")
    Image.fromarray(odd[:20]).save(tmp_path / "masks/train/1.png")
    (tmp_path / "masks/train/2.png").unlink()
    Image.fromarray(odd).save(tmp_path / "masks/train/5.png")
    found = list_annotations(tmp_path)
    assert found.classes == ["background", "leaf", "stem"] and len(found) == 2
    assert (found.mask(0) == np.where(odd > 2, 255, odd)).all()
    for line, words in zip(told(found), ("has pixels of 7 in its mask, and classes are 0 to 2", "2.jpg has no mask", "5.png has no photo",
                                         "1.jpg has a mask of 60x20 and is 60x40"), strict=True):
        assert words in line
    with pytest.raises(MobileNetError, match="no masks"):
        list_annotations(shared("data/cards")).mask(0)


def test_black_and_white_masks(tmp_path):
    for i in range(2):
        photo(tmp_path / f"images/{i}.jpg")
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(np.uint8([[0, 255] * 30] * 40)).save(tmp_path / f"masks/{i}.png")
    found = list_annotations(tmp_path, classes=["nucleus"])
    assert found.classes == ["background", "nucleus"] and np.unique(found.mask(1)).tolist() == [0, 1] and found.mask(0).dtype == np.uint8


def test_voc_segmentation(tmp_path):
    """Its own folder beside the boxes: by its path; parts from ImageSets/Segmentation."""
    root = write_voc(tmp_path / "set", small_table(tmp_path / "from"))
    (root / "SegmentationClass").mkdir()
    Image.fromarray(np.uint8([[0, 1, 255] * 20] * 40)).save(root / "SegmentationClass/0.png")
    (root / "ImageSets/Segmentation").mkdir()
    (root / "ImageSets/Segmentation/val.txt").write_text("0\n")
    assert list_annotations(root).kind == "boxes"
    for found in (list_annotations(root / "SegmentationClass"), list_annotations(root, kind="masks")):
        assert found.kind == "masks" and found.parts == ["validation"] and np.unique(found.mask(0)).tolist() == [0, 1, 255]
        assert len(found.skipped) == 3


ATTRIBUTES = {
    "columns": "file,red,round,split\n0.jpg,1,0,train\n1.jpg,0,1,train\n2.jpg,1,1,test\n",
    "celeba": "image_id,red,round,split\n0.jpg,1,-1,train\n1.jpg,-1,1,train\n2.jpg,1,1,test\n",
    "names": "filename,tags,split\n0.jpg,red,train\n1.jpg,round,train\n2.jpg,round;red,test\n",
    "bars": "path;label;split\n0.jpg;red;train\n1.jpg;round;train\n2.jpg;round|red;test\n"}


@pytest.mark.parametrize("way", ATTRIBUTES)
def test_attributes(way, tmp_path):
    for i in range(4):
        photo(tmp_path / f"images/{i}.jpg")
    (tmp_path / "a.csv").write_text(ATTRIBUTES[way])
    found = list_annotations(tmp_path)
    assert (found.kind, found.classes, found.parts) == ("attributes", ["red", "round"], ["train", "train", "test"])
    assert [t.tolist() for t in found.truth] == [[1, 0], [0, 1], [1, 1]] and found.truth[0].dtype == np.uint8
    assert found.counts("test") == dict(red=1, round=1)
    assert told(found)[-1].startswith("3.jpg") and len(found.skipped) == 1
    assert [t.tolist() for t in list_annotations(tmp_path, classes="round").truth] == [[0], [1], [1]]


def test_uncertain_attributes_are_skipped(tmp_path):
    photo(tmp_path / "0.jpg"), photo(tmp_path / "1.jpg")
    (tmp_path / "a.csv").write_text("path,cold,flu\n0.jpg,1,0\n1.jpg,-1,1\n")
    found = list_annotations(tmp_path / "a.csv")
    assert len(found) == 1 and "neither 0 nor 1" in found.problems[0][1]


def test_visual_wake_words(tmp_path):
    """The paper's rule, box by box; the scripts' rule; the judge is written out here."""
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for i in range(40):
        photo(tmp_path / f"val2017/{i}.jpg", (100, 80))
        images.append(dict(id=i, file_name=f"{i}.jpg", width=100, height=80))
        for _ in range(rng.integers(0, 3)):
            w, h = rng.uniform(2, 12, 2).tolist()
            annotations.append(dict(image_id=i, category_id=int(rng.integers(1, 3)), bbox=[1, 1, w, h], area=w * h / 2, iscrowd=0))
    data = dict(images=images, annotations=annotations, categories=[dict(id=1, name="person"), dict(id=2, name="dog")])
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/instances_val2017.json").write_text(json.dumps(data))
    for area, share in (("box", 1), ("outline", .5)):
        listing = list_visual_wake_words(tmp_path, area=area)
        large = {a["image_id"] for a in annotations if a["category_id"] == 1 and share * a["bbox"][2] * a["bbox"][3] / 8000 > .005}
        assert listing.classes == ("not-person", "person") and set(listing.parts) == {"validation"} and 0 < len(large) < 40
        assert listing.labels == [int(int(p.stem) in large) for p in listing.sources]
    assert list_visual_wake_words(tmp_path / "annotations/instances_val2017.json", "dog").classes == ("not-dog", "dog")
    with pytest.raises(MobileNetError, match="no class called 'cat'"):
        list_visual_wake_words(tmp_path, "cat")


def test_yaml_as_its_library_reads_it():
    """What people write in a data.yaml, judged by PyYAML."""
    yaml = pytest.importorskip("yaml")
    from mobilenet_keras.annotations import _yaml_items
    cases = ["names: [ace, king]", "names: ['ace', \"king of hearts\", it's]", "names:\n- ace\n- king", "names:\n  - ace # one\n  - 'king # two'\n",
             "nc: 2\nnames:\n  0: ace\n  1: king\nroboflow:\n  names: 3\n", "names: {0: ace, 1: 'king, queen'}", "names: ['a', 'b',]",
             "# names: [x]\nnames: [\n  ace,   # first\n\n  king\n]\nnc: 2", "names:\n  # people\n  1: b\n  0: 'a''s'\n",
             "names: ['café', 10 euro, \"c#\"]"]
    for text in cases:
        wanted = yaml.safe_load(text)["names"]
        assert dict(_yaml_items(text, "names")) == (wanted if isinstance(wanted, dict) else dict(enumerate(map(str, wanted)))), text
    assert _yaml_items("train: ../train/images\n", "train") == [(0, "../train/images")] and _yaml_items("names: [a]", "val") is None


DTD = '<!DOCTYPE a [<!ENTITY a0 "x">' + "".join(f'<!ENTITY a{i + 1} "{f"&a{i};" * 10}">' for i in range(12)) + "]>"
FILE = '<!DOCTYPE a [<!ENTITY f SYSTEM "file:///etc/hostname">]>'


def voc(inner, head=""):
    return f'<?xml version="1.0"?>{head}<annotation><filename>0.jpg</filename>{inner}</annotation>'


def one_coco(**change):
    data = dict(images=[dict(id=1, file_name="0.jpg", width=60, height=40)], categories=[dict(id=1, name="ace")],
                annotations=[dict(id=1, image_id=1, category_id=1, bbox=[1, 1, 5, 5])])
    return json.dumps(data | change)


THING = "<object><name>ace</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"
HOSTILE = {  # a file and what is in it; what is said
    "billion laughs": ("a.xml", voc(THING + "<object><name>&a12;</name></object>", DTD), "DOCTYPE"),
    "billion laughs in utf-16": ("a.xml", voc(THING, DTD).encode("utf-16"), "DOCTYPE"),
    "external entity": ("a.xml", voc("<object><name>&f;</name></object>", FILE), "DOCTYPE"),
    "entity without a declaration": ("a.xml", voc("<object><name>&f;</name></object>"), "undefined entity"),
    "deep xml": ("a.xml", voc("<a>" * 100_000), "nested too deep"),
    "long names": ("a.xml", voc(f"<{'a' * 100_000}/>"), "names that are too long"),
    "xml of bytes": ("a.xml", os.urandom(1000), "no XML"),
    "another xml": ("a.xml", "<svg/>", "no Pascal VOC annotation"),
    "large xml": ("a.xml", b" " * (5 << 20), "more than 4 MiB"),
    "names a photo outside": ("a.xml", voc(THING).replace("0.jpg", "../secret.jpg"), "leads out of"),
    "names a photo anywhere": ("a.xml", voc(THING).replace("0.jpg", "/etc/hostname"), "absolute path"),
    "names a drive": ("a.xml", voc(THING).replace("0.jpg", "C:\\a\\0.jpg"), "absolute path"),
    "names a link": ("a.xml", voc(THING).replace("0.jpg", "link.jpg"), "a link that leads out"),
    "deep json": ("a.json", "[" * 200_000, "no JSON"),
    "cut json": ("a.json", one_coco()[:-9], "no JSON"),
    "json of a list": ("a.json", "[1, 2]", "no COCO file"),
    "json of numbers": ("a.json", one_coco(images=3), "no COCO file"),
    "a long number": ("a.json", one_coco().replace("[1, 1, 5, 5]", "9" * 100_000), "no JSON"),
    "images of numbers": ("a.json", one_coco(images=[3, None, "x"]), "3 entries are no image"),
    "a file name of a list": ("a.json", one_coco(images=[dict(id=1, file_name=["0.jpg"], width=60, height=40)]), "names no photo"),
    "an id of a dictionary": ("a.json", one_coco(images=[dict(id={}, file_name="0.jpg")]), "has no id"),
    "half a letter": ("a.json", one_coco(images=[dict(id=1, file_name="\ud800.jpg")]), "is not there"),
    "a null letter": ("a.json", one_coco(images=[dict(id=1, file_name="0.jpg\0.png")]), "is not there"),
    "a name without end": ("a.json", one_coco(images=[dict(id=1, file_name="0" * 1_000_000)]), "names no photo"),
    "json outside": ("a.json", one_coco(images=[dict(id=1, file_name="x/../../secret.jpg")]), "leads out of"),
    "table without an end": ("a.csv", "file,class,x1,y1,x2,y2\n" + '"' + "a" * 500_000, "field larger than field limit"),
    "table of bytes": ("a.csv", b"file,class,x1,y1,x2,y2\n\xff\xfe\xfa", "UTF-8"),
    "table outside": ("a.csv", "file,class,x1,y1,x2,y2\n../secret.jpg,ace,1,1,5,5\n", "leads out of"),
    "short rows": ("a.csv", "file,class,x1,y1,x2,y2\n0.jpg\n", "fewer values than"),
    "no columns": ("a.csv", "a,b\n1,2\n", "no columns that are known"),
    "nothing": ("a.csv", "", "no columns that are known"),
    "a class a photo": ("a.csv", "file,class\n0.jpg,ace\n", "a table for a classifier"),
    "another file": ("a.txt", "0.jpg", "in a format that is known"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files(case, tmp_path):
    """One sentence, soon, and nothing of the world outside in it."""
    name, content, said = HOSTILE[case]
    root = tmp_path / "set"
    photo(root / "0.jpg"), photo(tmp_path / "secret.jpg")
    os.symlink(tmp_path / "secret.jpg", root / "link.jpg")
    (root / name).write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    began = time.process_time()
    with pytest.raises(MobileNetError) as e:
        list_annotations(root / name)
    text = str(e.value)
    assert said in text and time.process_time() - began < 2 and len(text) < 1000 and text.count("\n") == 0 and text.encode()


VALUES = [None, True, -1, 1e308, "9" * 50, "x", [], {}, [[1]], float("nan"), "\x1b[2J", 10 ** 400]


@pytest.mark.parametrize("field", "id file_name width height image_id category_id bbox name iscrowd supercategory area".split())
def test_any_value_of_any_type_in_json(field, tmp_path):
    """A second photo with such a value is told or read; the first one stays."""
    photo(tmp_path / "0.jpg"), photo(tmp_path / "1.jpg")
    for value in VALUES:
        data = json.loads(one_coco())
        for entries in (data["images"], data["annotations"], data["categories"]):
            second = dict(id=2, image_id=2, file_name="1.jpg", name="king")
            entries.append(entries[0] | {k: v for k, v in second.items() if k in entries[0]})
            if field in entries[0] or field in ("iscrowd", "supercategory", "area"):
                entries[1][field] = value
        (tmp_path / "a.json").write_text(json.dumps(data))
        found = list_annotations(tmp_path / "a.json")
        assert found.files[0].name == "0.jpg" and len(found.truth[0]) >= 1 and "\x1b" not in repr(found)
        assert all(np.isfinite(t.xyxy).all() and (t.xyxy >= 0).all() and (t.xyxy <= 1).all() for t in found.truth)


def test_links_are_not_followed_out_of_the_folder(tmp_path):
    """Labels, masks and photos alike."""
    rows = small_table(tmp_path / "from")
    root = write_yolo(tmp_path / "set", rows)
    (tmp_path / "secret.txt").write_text("1 .5 .5 .1 .1\n")
    (root / "labels/train/0.txt").unlink(), (root / "images/train/1.jpg").unlink()
    os.symlink(tmp_path / "secret.txt", root / "labels/train/0.txt")
    os.symlink(tmp_path / "from/photos/1.jpg", root / "images/train/1.jpg")
    found = list_annotations(root)
    assert [f.name for f in found.files] == ["3.jpg", "2.jpg"] and sum("leads out of" in s for s in told(found)) == 2


def test_a_bomb_of_a_mask_is_not_decoded(tmp_path):
    """A PNG that claims 100,000 x 100,000 pixels in 100 bytes."""
    import struct
    import zlib
    def chunk(kind, data): return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    photo(tmp_path / "images/0.jpg"), photo(tmp_path / "images/1.jpg")
    (tmp_path / "masks").mkdir()
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(bytes(99))), (b"IEND", b"")]
    (tmp_path / "masks/0.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*c) for c in chunks))
    Image.fromarray(np.zeros((40, 60), np.uint8)).save(tmp_path / "masks/1.png")
    found = list_annotations(tmp_path)
    assert len(found) == 1 and "pixels" in told(found)[0]


def test_unknown_folders_are_told_what_was_looked_for(tmp_path):
    for path, said in ((tmp_path / "no", "No such file or folder"), (tmp_path, "annotations/instances_")):
        with pytest.raises(MobileNetError, match=said):
            list_annotations(path)
    with pytest.raises(MobileNetError, match="kind is boxes"):
        list_annotations(tmp_path, kind="polygons")
    with pytest.raises(MobileNetError, match="each once"):
        list_annotations(tmp_path, classes=["ace", "ace"])


@pytest.mark.slow
def test_many_boxes_take_seconds(tmp_path):
    """A tenth of 100,000: 10,000 boxes on 1,000 photos."""
    data = dict(images=[], annotations=[], categories=[dict(id=1, name="ace"), dict(id=2, name="king")])
    rng = np.random.default_rng(0)
    first = photo(tmp_path / "0.jpg", (640, 480)).read_bytes()
    for i in range(1000):
        (tmp_path / f"{i}.jpg").write_bytes(first)
        data["images"].append(dict(id=i, file_name=f"{i}.jpg", width=640, height=480))
        for x, y, w, h in rng.uniform([0, 0, 5, 5], [400, 300, 200, 150], (10, 4)).round(2).tolist():
            data["annotations"].append(dict(image_id=i, category_id=1 + i % 2, bbox=[x, y, w, h], iscrowd=0))
    (tmp_path / "a.json").write_text(json.dumps(data))
    began = time.process_time()
    found = list_annotations(tmp_path / "a.json")
    assert sum(map(len, found.truth)) == 10_000 and time.process_time() - began < 2


@pytest.mark.parametrize("format", WRITERS)
def test_broken_files_are_an_error_or_a_list(format, tmp_path):
    """Cut short, random bytes, random words in each file that annotates: never another exception, never a box outside."""
    root = WRITERS[format](tmp_path / "set", small_table(tmp_path / "from"))
    files = [f for f in sorted(root.rglob("*")) if f.is_file() and f.suffix != ".jpg"]
    read = 0
    for file in (*files, *files):
        whole = file.read_bytes()
        for data in mutations(whole, 60 // len(files) + 3) if len(whole) > 16 else (b"", whole[:1]):
            file.write_bytes(data)
            try:
                found = list_annotations(root)
            except MobileNetError as e:
                assert "\n" not in str(e)
            else:
                read += 1
                assert all(((t.xyxy >= 0) & (t.xyxy <= 1)).all() and (t.labels < len(found.classes)).all() for t in found.truth)
                assert repr(found).encode()
        file.write_bytes(whole)
    assert read > 10


def test_one_broken_file_of_several_is_skipped(tmp_path):
    for format, name in (("COCO", "annotations/instances_test2017.json"), ("CSV", "test_labels.csv")):
        root = WRITERS[format](tmp_path / format, small_table(tmp_path / f"from {format}"))
        (root / name).write_bytes(b"file,class,x1,y1,x2,y2\n\xff")
        found = list_annotations(root)
        assert set(found.parts) == {"train"} and any(name.split("/")[-1] in f for f in found.skipped), found.skipped


def test_yolo_as_roboflow_exports_it(tmp_path):
    """train/images, train/labels, and a data.yaml that names ../train/images."""
    for part in ("train", "valid"):
        photo(tmp_path / f"{part}/images/{part}.jpg")
        (tmp_path / f"{part}/labels").mkdir()
        (tmp_path / f"{part}/labels/{part}.txt").write_text("1 0.5 0.5 0.25 0.5\n")
    text = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 2\nnames: ['ace', 'king']\n\nroboflow:\n  version: 1\n"
    (tmp_path / "data.yaml").write_text(text)
    for path in (tmp_path, tmp_path / "data.yaml"):
        found = list_annotations(path)
        assert found.parts == ["train", "validation"] and found.classes == ["ace", "king"] and found.counts() == dict(ace=0, king=2)
        assert found.truth[0].xyxy.tolist() == [[.375, .25, .625, .75]] and not found.skipped
        assert {what.split(":")[0] for _, what in found.problems} == {f"names '../test/images' for test, which is no folder in {tmp_path}"}


def test_a_part_by_its_own_path(tmp_path):
    """The folder of the annotations, a part, a file."""
    rows = small_table(tmp_path / "from")
    root = write_voc(tmp_path / "voc", rows)
    assert len(list_annotations(root / "Annotations")) == 4 and list_annotations(root / "Annotations/2.xml").files[0].name == "2.jpg"
    root = write_coco(tmp_path / "coco", rows)
    assert list_annotations(root / "annotations/instances_test2017.json").parts == ["test"]
    root = WRITERS["Roboflow"](tmp_path / "roboflow", rows)
    assert len(list_annotations(root / "train")) == 3


YAMLS = {
    "quotes": "names: [" + "'" * 900_000, "spaces": "names:" + " " * 900_000 + "x", "words": "names: [" + "a " * 400_000,
    "dashes": "names:\n" + "- \n" * 300_000, "colons": "names: " + "0:" * 400_000, "brackets": "names: " + "[" * 900_000,
    "keys": "names:\n" + "".join(f"  {i}: 'a{i}'\n" for i in range(50_000)), "comments": "names: [a] " + " #" * 400_000 + "'",
    "commas": "names: [" + "," * 900_000 + "]", "lines": "names:" + "\n " * 400_000, "doubles": 'names: ["' + '\\"' * 400_000,
    "paths": "train: " + "../" * 300_000 + "\nnames: [a, b]", "null": "train: a\0b\nval: /etc\nnames: [ace, king]", "large": "#" * (2 << 20)}


@pytest.mark.parametrize("case", YAMLS)
def test_hostile_yaml(case, tmp_path):
    """Whatever it is, it is read in two seconds, and gives names, numbers or a sentence."""
    root = write_yolo(tmp_path / "set", small_table(tmp_path / "from"))
    (root / "data.yaml").write_text(YAMLS[case])
    began = time.process_time()
    try:
        assert len(list_annotations(root)) == 4
    except MobileNetError as e:
        assert len(str(e)) < 1000 and "\n" not in str(e)
    assert time.process_time() - began < 2


def test_tables_of_open_images(tmp_path):
    """Shares, and photos without a suffix."""
    photo(tmp_path / "images/0001eeaf4aed83f9.jpg", (100, 50))
    (tmp_path / "train-annotations-bbox.csv").write_text(
        "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded\n0001eeaf4aed83f9,xclick,/m/0cmf2,1,0.022673,0.9642,0.0711,0.8008,0\n")
    found = list_annotations(tmp_path)
    assert abs(found.truth[0].xyxy - [.022673, .0711, .9642, .8008]).max() < 1e-6 and found.parts == ["train"] and found.classes == ["/m/0cmf2"]
    for (_, what), words in zip(found.problems, ["has no edge above 1", "was taken for '0001eeaf4aed83f9'"], strict=True):
        assert what.startswith(words)


def test_attributes_of_two_tables(tmp_path):
    """Roboflow's: a table a part; what one of them lacks is told."""
    for part, head, row in (("train", "filename, a, b", "0.jpg, 1, 0"), ("valid", "filename, a, c", "1.jpg, 0, 1")):
        photo(tmp_path / part / row.split(",")[0])
        (tmp_path / part / "_classes.csv").write_text(f"{head}\n{row}\n")
    found = list_annotations(tmp_path)
    assert found.parts == ["train", "validation"] and found.classes == ["a", "b", "c"] and [t.tolist() for t in found.truth] == [[1, 0, 0], [0, 0, 1]]
    assert [what for _, what in found.problems] == ["is in a table without 'c': taken as 0.", "is in a table without 'b': taken as 0."]


def test_other_files_beside_are_no_annotations(tmp_path):
    """A list of names in JSON, a site map in XML and a log in CSV lie beside a YOLO set; XML files of VOC lie beside their photos and name none."""
    rows = small_table(tmp_path / "from")
    root = write_yolo(tmp_path / "yolo", rows)
    (root / "labels.json").write_text('["ace", "king"]')
    (root / "sitemap.xml").write_text("<urlset/>")
    (root / "log.csv").write_text("epoch,loss\n1,2\n")
    found = list_annotations(root)
    assert found.format == "YOLO" and not found.problems and not found.skipped
    voc_set = write_voc(tmp_path / "voc", rows)
    for file in (voc_set / "Annotations").iterdir():
        (voc_set / "JPEGImages" / file.name).write_text(file.read_text().replace(f"<filename>{file.stem}.jpg</filename>", "<filename></filename>"))
    found = list_annotations(voc_set / "JPEGImages")
    assert len(found) == 4 and not found.problems and not found.skipped


def test_a_set_may_be_named_from_where_one_stands(tmp_path, monkeypatch):
    """Relative paths, with a data.yaml that says the parts."""
    root = write_yolo(tmp_path / "set", small_table(tmp_path / "from"))
    (root / "images/train").rename(root / "images/a"), (root / "labels/train").rename(root / "labels/a")
    (root / "data.yaml").write_text(f"path: .\ntrain: images/a\nval: images/test\nnames: {list(CARDS)}\n")
    for here, path in ((tmp_path, "set"), (root, "."), (root / "images", "../data.yaml")):
        monkeypatch.chdir(here)
        found = list_annotations(path)
        assert Counter(found.parts) == {"train": 3, "validation": 1} and not found.problems and all(f.is_file() for f in found.files)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "iso-8859-1", "cp1252"])
def test_elements_as_the_standard_library_reads_them(encoding):
    """Random trees, written and judged by ElementTree."""
    from xml.etree import ElementTree

    from mobilenet_keras.annotations import _elements
    rng = np.random.default_rng(0)

    def grow(tag, depth):
        node = ElementTree.Element(tag, {"id": "<&>"})
        node.text = rng.choice(["", " ace ", "<x>", "caf\u00e9", "a&b", "\n\t"])
        node.extend([grow(rng.choice(["object", "name", "bndbox", "\u00e4"]), depth - 1) for _ in range(rng.integers(0, 4) if depth else 0)])
        return node

    def walk(node, path):
        for child in node:
            yield from walk(child, f"{path}/{child.tag}")
        yield path, (node.text or "").strip()
    for _ in range(20):
        text = ElementTree.tostring(grow("annotation", 5), encoding=encoding, xml_declaration=True)
        root = ElementTree.fromstring(text)
        assert _elements(text) == list(walk(root, root.tag))
