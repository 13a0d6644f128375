"""`mobilenet device selfcheck`: a block for an issue; and the rows that came in."""
import json
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from console_app import SANITIZED, Running, app_data, build
from small_firmware import built
from strict import Emulated

from mobilenet_keras import cli
from mobilenet_keras.core import MobileNetError
from mobilenet_keras.engine.engine import Engine
from mobilenet_keras.mcu.console import Device
from mobilenet_keras.mcu.selfcheck import COLUMNS, hardware_rows, selfcheck
from mobilenet_keras.tflite.builder import example
from mobilenet_keras.tflite.inputs import noise_photos

HARDWARE = Path(__file__).parent.parent / "benchmarks/hardware.csv"


def test_the_rows_that_users_sent_have_their_form():
    rows = hardware_rows(HARDWARE.read_text())
    assert all(row["board"] for row in rows)


def test_rows_that_were_not_printed_are_refused():
    head, row = ",".join([*COLUMNS, "issue"]), "pico,0x20002927,0.1.0,2,example,4da5d4d5,8505,,1234abcd,1,1244,824,12"
    assert hardware_rows(f"{head}\n{row}\n")[0]["board"] == "pico" and hardware_rows(head + "\n") == []
    for bad in (row[:-3], row.replace("1234abcd", "ABCD1234"), row.replace(",1,1244", ",yes,1244"), row + ",13", row[:-2] + "me"):
        with pytest.raises(MobileNetError, match="Line 2 is not a row"):
            hardware_rows(f"{head}\n{bad}\n")
    with pytest.raises(MobileNetError, match="The columns are missing"):
        hardware_rows("")


@pytest.mark.parametrize("board, chip", [("pico", 0x20002927), ("pico2", 0x20004927), ("microbit", None), ("nucleo-h743zi", 0x10036450)])
def test_what_an_emulated_board_says(board, chip):
    found = selfcheck(Device(Emulated(built(board), counted=True)))
    assert found.passed and (found.chip == chip or chip is None and found.chip is not None)
    row = found.row()
    said = bytes(b & 255 for b in found.to_dict()["output"])
    assert row["board"] == board and row["microseconds"] > 100 and int(row["output_crc"], 16) == zlib.crc32(said)
    line = str(found).split("csv           ")[1].splitlines()[0]
    (parsed,) = hardware_rows(",".join([*COLUMNS, "issue"]) + f"\n{line},1\n")
    assert parsed == {k: str(v) for k, v in row.items()} | {"issue": "1"}


@pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo-terminals")
def test_selfcheck_from_a_shell(tmp_path, capsys):
    engine = Engine(example())
    some = (noise_photos(1, *engine.shape).astype(np.int16) - 128).astype(np.int8)
    (tmp_path / "right").mkdir()
    board = Running(build(tmp_path / "right", app_data(example(), some[0], engine.run(some[0])), *SANITIZED))
    assert cli.main(["device", "selfcheck", "--port", board.port]) == 0
    said = capsys.readouterr().out
    assert said.startswith("```\nboard         host\nchip          not told\n") and "The board's bytes are those of the build." in said
    assert cli.main(["device", "selfcheck", "--port", board.port, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["output"] == engine.run(some[0]).tolist()
    with Device(board.port) as end:
        end.leave()
    assert board.close() == (0, "")
    board = Running(build(tmp_path, app_data(example(), some[0], engine.run(some[0]) + 1)))
    assert cli.main(["device", "selfcheck", "--port", board.port]) == 1 and "ARE NOT THOSE OF THE BUILD" in capsys.readouterr().out
    with Device(board.port) as end:
        end.leave()
    board.close()
