"""Sets of annotated photos in every format, written here from one table of boxes, for the tests that read them back."""
import csv
import json
from pathlib import Path

from PIL import Image

CARDS = ("ace", "jack", "king", "nine", "queen", "ten")


def cards_table(folder):
    """[(part, file, class, corners, size)] of the real cards' CSVs, read by nothing of the library."""
    rows = []
    for part in ("train", "test"):
        with open(folder / part / "boxes.csv", newline="", encoding="utf-8") as f:
            rows += [(part, folder / part / r["file"], r["class"], tuple(float(r[k]) for k in ("x1", "y1", "x2", "y2")),
                      (int(r["width"]), int(r["height"]))) for r in csv.DictReader(f)]
    return rows


def by_photo(rows):
    """{(part, file, size): [(class, corners)]}."""
    found = {}
    for part, file, name, corners, size in rows:
        found.setdefault((part, file, size), []).append((name, corners))
    return found


def small_table(folder, photos=4):
    """The same of a few photos of one colour, which are written."""
    (folder / "photos").mkdir(parents=True)
    rows = []
    for i in range(photos):
        file = folder / f"photos/{i}.jpg"
        Image.new("RGB", (60, 40), (50 * i, 90, 120)).save(file)
        for j in range(i + 1):
            rows.append(("train" if i < photos - 1 else "test", file, CARDS[(i + j) % 6], (3. + j, 5.5, 30. + 2 * j, 20. + i), (60, 40)))
    return rows


def copy(file, to):
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_bytes(Path(file).read_bytes())


def write_voc(root, rows):
    """One folder and ImageSets, as the challenge has them."""
    sets = {}
    for (part, file, (width, height)), things in by_photo(rows).items():
        copy(file, root / "JPEGImages" / file.name)
        edges = ["".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), corners)) for _, corners in things]
        objects = "".join(f"<object><name>{name}</name><difficult>0</difficult><bndbox>{four}</bndbox></object>"
                          for (name, _), four in zip(things, edges))
        xml = (f"<annotation><folder>x</folder><filename>{file.name}</filename>"
               f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>{objects}</annotation>")
        (root / "Annotations").mkdir(exist_ok=True)
        (root / "Annotations" / f"{file.stem}.xml").write_text(xml)
        sets.setdefault(part, []).append(file.stem)
    (root / "ImageSets/Main").mkdir(parents=True)
    for part, stems in sets.items():
        (root / f"ImageSets/Main/{part}.txt").write_text("\n".join(stems) + "\n")
    return root


def coco(photos, folder=""):
    """The dictionary of a COCO file."""
    images, annotations = [], []
    for i, ((_, file, (width, height)), things) in enumerate(photos, 1):
        images.append(dict(id=i, file_name=folder + file.name, width=width, height=height))
        for name, (x1, y1, x2, y2) in things:
            annotations.append(dict(id=len(annotations) + 1, image_id=i, category_id=10 * (CARDS.index(name) + 1), iscrowd=0,
                                    bbox=[x1, y1, x2 - x1, y2 - y1], area=(x2 - x1) * (y2 - y1), segmentation=[]))
    categories = [dict(id=10 * (i + 1), name=name, supercategory="cards") for i, name in enumerate(CARDS)]
    return dict(images=images, annotations=annotations, categories=categories)


def write_coco(root, rows):
    """As COCO has it: annotations/instances_train2017.json and train2017/."""
    (root / "annotations").mkdir(parents=True)
    for part in ("train", "test"):
        photos = [(k, v) for k, v in by_photo(rows).items() if k[0] == part]
        for (_, file, _), _ in photos:
            copy(file, root / f"{part}2017" / file.name)
        (root / f"annotations/instances_{part}2017.json").write_text(json.dumps(coco(photos)))
    return root


def write_roboflow(root, rows):
    """As Roboflow exports COCO: a file in each part's folder, and a family in front of the categories."""
    for part in ("train", "test"):
        photos = [(k, v) for k, v in by_photo(rows).items() if k[0] == part]
        for (_, file, _), _ in photos:
            copy(file, root / part / file.name)
        found = coco(photos)
        found["categories"].insert(0, dict(id=0, name="cards", supercategory="none"))
        (root / part / "_annotations.coco.json").write_text(json.dumps(found))
    return root


def write_yolo(root, rows):
    """As Ultralytics has it: images/train, labels/train and a data.yaml."""
    for (part, file, (w, h)), things in by_photo(rows).items():
        copy(file, root / "images" / part / file.name)
        lines = [f"{CARDS.index(name)} {(x1 + x2) / 2 / w:.9f} {(y1 + y2) / 2 / h:.9f} {(x2 - x1) / w:.9f} {(y2 - y1) / h:.9f}"
                 for name, (x1, y1, x2, y2) in things]
        (root / "labels" / part).mkdir(parents=True, exist_ok=True)
        (root / "labels" / part / f"{file.stem}.txt").write_text("\n".join(lines) + "\n")
    (root / "data.yaml").write_text(f"train: images/train\ntest: images/test\nnc: 6\nnames: {list(CARDS)}\n")
    return root


def write_kitti(root, rows):
    """Parts as folders, each with image_2 and label_2."""
    for (part, file, _), things in by_photo(rows).items():
        copy(file, root / f"{part}ing" / "image_2" / file.name)
        label = root / f"{part}ing" / "label_2" / f"{file.stem}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("".join(f"{n} 0.00 0 -1.57 {x1} {y1} {x2} {y2} 1.5 1.6 3.7 1.0 1.7 8.4 -1.5\n" for n, (x1, y1, x2, y2) in things)
                         + "DontCare -1 -1 -10 0.0 0.0 9.0 9.0 -1 -1 -1 -1000 -1000 -1000 -10\n")
    return root


def write_csv(root, rows):
    """TensorFlow's tutorials' tables: train_labels.csv and test_labels.csv beside images/."""
    root.mkdir(parents=True, exist_ok=True)
    for part in ("train", "test"):
        with open(root / f"{part}_labels.csv", "w", newline="", encoding="utf-8") as f:
            table = csv.writer(f)
            table.writerow("filename width height class xmin ymin xmax ymax".split())
            for of, file, name, corners, size in rows:
                if of == part:
                    copy(file, root / "images" / part / file.name)
                    table.writerow([file.name, *size, name, *corners])
    return root


WRITERS = {"Pascal VOC": write_voc, "COCO": write_coco, "Roboflow": write_roboflow, "YOLO": write_yolo, "KITTI": write_kitti, "CSV": write_csv}
