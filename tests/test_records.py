"""Photos that a table or TFRecord files hold, as TensorFlow writes them; and files that nobody should trust."""
import io
import struct
from pathlib import Path

import numpy as np
import pytest
from helpers import mobilenet, mutations, one_line
from PIL import Image

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.photos import Photos
from mobilenet_keras.records import list_photos, list_records, masked_crc


def jpeg(rng):
    out = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(out, "JPEG")
    return out.getvalue()


def example(**features):
    """A serialized `tf.train.Example` in a TFRecord, by hand: short fields only."""
    def varint(n): return bytes([n & 127 | 128]) + varint(n >> 7) if n > 127 else bytes([n])
    def field(number, value): return bytes([number << 3 | 2]) + varint(len(value)) + value
    value = lambda v: field(1, field(1, v)) if isinstance(v, bytes) else field(3, field(1, varint(v)))  # noqa: E731
    entries = b"".join(field(1, field(1, k.replace("__", "/").encode()) + field(2, value(v))) for k, v in features.items())
    data = field(1, entries)
    size = struct.pack("<Q", len(data))
    return size + struct.pack("<I", masked_crc(size)) + data + struct.pack("<I", masked_crc(data))


def slim(rng, label, text=None):
    return example(image__encoded=jpeg(rng), image__class__label=label, **(dict(image__class__text=text) if text else {}))


def test_what_tensorflow_writes(tensorflow, tmp_path):
    """Slim's keys, in shards of two parts, written by TensorFlow; pixels as TensorFlow decodes them."""
    tf, rng = tensorflow, np.random.default_rng(0)
    lists = {bytes: ("bytes_list", tf.train.BytesList), int: ("int64_list", tf.train.Int64List), float: ("float_list", tf.train.FloatList)}
    feature = lambda v: tf.train.Feature(**{lists[type(v)][0]: lists[type(v)][1](value=[v])})  # noqa: E731
    first = jpeg(rng)
    for part, n in (("train", 20), ("validation", 8)):
        with tf.io.TFRecordWriter(str(tmp_path / f"flowers_{part}-00000-of-00001.tfrecord")) as writer:
            for i in range(n):
                keys = {"image/encoded": first if (part, i) == ("train", 0) else jpeg(rng), "image/class/label": 1 + i % 2,
                        "image/class/text": (b"rose", b"tulip")[i % 2], "image/format": b"jpeg", "image/height": 20, "image/ratio": 1.2}
                writer.write(tf.train.Example(features=tf.train.Features(feature={k: feature(v) for k, v in keys.items()})).SerializeToString())
    photos = Photos.read(tmp_path, (20, 24), augment_scale=1, group=False)
    assert photos.classes == ["rose", "tulip"] and [len(p) for p in (photos.train, photos.validation, photos.test)] == [20, 8, 0]
    decoded = tf.io.decode_jpeg(first, dct_method="INTEGER_ACCURATE").numpy()
    assert abs(photos.train.pixels[0].astype(int) - decoded).max() <= 3 and "record 0" in str(photos.train.paths[0])
    assert Photos.read(**photos.source).train.labels.tolist() == photos.train.labels.tolist()


def test_checksum_is_that_of_the_rfc():
    """RFC 3720, B.4: 32 zeros, 32 ones; TFRecord rotates and adds."""
    for data, crc in ((bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43), (bytes(range(32)), 0x46DD794E)):
        assert masked_crc(data) == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_names_beside_the_records(tmp_path):
    rng = np.random.default_rng(0)
    file = tmp_path / "a.tfrecord"
    file.write_bytes(slim(rng, 1) + slim(rng, 2) + slim(rng, 300))
    assert list_records(file).classes == ("1", "2", "300")
    (tmp_path / "labels.txt").write_text("1:rose\n2:tulip\n300:oak\n")
    listing = list_photos(file)
    assert listing.classes == ("rose", "tulip", "oak") and listing.labels == [0, 1, 2]
    (tmp_path / "labels.txt").write_text("1:rose\n2:tulip\n")
    with pytest.raises(MobileNetError, match="no name for class 300"):
        list_photos(file)
    (tmp_path / "labels.txt").unlink()
    file.write_bytes(slim(rng, 1, b"rose") + slim(rng, 1, b"tulip"))
    with pytest.raises(MobileNetError, match="both 'rose' and 'tulip'"):
        list_photos(file)


def test_hostile_records_are_an_error_or_a_listing(tmp_path):
    """Cut short, random bytes, random words: never another exception, never bytes beyond the file."""
    rng = np.random.default_rng(0)
    whole, path, refused = slim(rng, 1, b"rose") + slim(rng, 2, b"tulip"), tmp_path / "x.tfrecord", 0
    for data in [*mutations(whole, 300), struct.pack("<Q", 1 << 62) + struct.pack("<I", masked_crc(struct.pack("<Q", 1 << 62))) + bytes(20)]:
        path.write_bytes(data)
        try:
            listing = list_photos(path)
            assert all(0 <= s.start and s.start + s.size <= len(data) for s in listing.sources)
        except MobileNetError:
            refused += 1
    assert refused > 150, "the others have a broken photo, which its decoder tells"


def test_the_command_says_what_is_wrong_with_a_file(tmp_path):
    rng = np.random.default_rng(0)
    for name, data, said in [("a.tfrecord", slim(rng, 1)[:-20], "ends in the middle of record 0"),
                             ("b.csv", b"name\n1.jpg\n", "no column called file"), ("c.zip", b"PK", "is a file. Wanted a folder"),
                             ("d.tfrecord", example(image__encoded=b"x", image__object__class__label=1), "no image/encoded with")]:
        (tmp_path / name).write_bytes(data)
        code, _, err = mobilenet("train", tmp_path / name)
        assert code == 2 and said in one_line(err)


def test_a_table_is_evaluated_too(tmp_path):
    from helpers import network
    rng = np.random.default_rng(0)
    for i in range(6):
        (tmp_path / f"{i}.jpg").write_bytes(jpeg(rng))
    rows = [f"{i}.jpg,{('lime', 'plum')[i % 2]},{'test' if i > 1 else 'train'}\n" for i in range(6)]
    (tmp_path / "t.csv").write_text("path,label,split\n" + "".join(rows))
    path = network().compile().save(tmp_path / "m.mbn")
    from mobilenet_keras.evaluation import evaluate
    found = evaluate(path, tmp_path / "t.csv")
    assert len(found) == 4 and found.labels.tolist() == [0, 0, 2, 2]
    assert len(evaluate(path, tmp_path / "t.csv", "train")) == 2
    with pytest.raises(MobileNetError, match="no validation folder"):
        evaluate(path, tmp_path / "t.csv", "validation")
    from mobilenet_keras.cli import _photo_files
    listed = [*(tmp_path / f"{i}.jpg" for i in range(6)), Path("one.jpg")]
    assert _photo_files([tmp_path / "t.csv", "one.jpg"]) == listed, "verify and predict take it, too"
