"""Progress where somebody watches: a terminal, a notebook."""
import os
import subprocess

import pytest
from conftest import ROOT

from mobilenet_keras.core import MobileNetError, broken_by, few, quoted, read_bounded


@pytest.mark.parametrize("path", ["runs/mobilenet_0.25_96-1", "my runs/it's", "a;b", "$HOME", "-x y"])
def test_a_suggested_path_can_be_pasted(path):
    if os.name == "nt":
        assert quoted("my runs") == '"my runs"'
    else:
        assert subprocess.run(["sh", "-c", f"printf %s {quoted(path)}"], capture_output=True, text=True).stdout == path
        assert (quoted(path) == path) == (" " not in path and ";" not in path and "$" not in path)


def test_what_broke_a_file_is_told_in_words():
    import struct
    for wrong in (lambda: struct.unpack_from("<I", b"", 4), lambda: [][1], lambda: b"\xff".decode(), lambda: (1.).as_integer_ratio()[2]):
        with pytest.raises(Exception) as caught:
            wrong()
        assert broken_by(caught.value) and "unpack" not in broken_by(caught.value) and "index" not in broken_by(caught.value)
    assert broken_by(ValueError("its own words")) == ""


def test_only_files_of_a_sane_size_are_read(tmp_path):
    """20 GB that take no place on the disk, a device that never ends, a folder: each is refused before it is read."""
    small, huge = tmp_path / "small.uf2", tmp_path / "huge.uf2"
    small.write_bytes(b"1234")
    with open(huge, "wb") as f:
        f.truncate(20 << 30)
    assert read_bounded(small) == read_bounded(small, 4) == b"1234"
    refused = [(huge, "has more than 128 MiB"), (tmp_path, "is no file"), (tmp_path / "none", "can't be read: No such file")]
    for path, wrong in refused + [("/dev/zero", "is no file")] * os.path.exists("/dev/zero"):
        with pytest.raises(MobileNetError, match=wrong):
            read_bounded(path)
    with pytest.raises(MobileNetError, match="has more than"):
        read_bounded(small, 3)


def test_no_program_of_ours_looks_for_modules_in_the_current_folder():
    """`python -c` and `-m` do, unless -P forbids it: a folder with a model from elsewhere must not be able to bring code along."""
    calls = [line for path in (ROOT / "mobilenet_keras").rglob("*.py") for line in path.read_text(encoding="utf-8").splitlines()
             if "sys.executable, " in line]
    assert len(calls) >= 6 and [line for line in calls if 'sys.executable, "-P"' not in line] == []


def test_a_thousand_names_are_a_few():
    assert few(["a", "b"]) == "a, b" and few([]) == "" and few(range(3), 2) == "0, 1 and 1 more"
    assert few(f"n{i}" for i in range(1001)) == "n0, n1, n2, n3, n4, n5, n6, n7 and 993 more"
