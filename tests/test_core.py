"""Progress where somebody watches: a terminal, a notebook."""
import os
import subprocess

import pytest

from mobilenet_keras.core import broken_by, quoted


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
