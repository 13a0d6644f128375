"""A MicroPython's REPL on a serial line: which port, who answers, and what an interruption leaves."""
import contextlib
import re
import time

import pytest
from micropython_board import names, needs_unix_port

from mobilenet_keras.mcu import repl

pytestmark = needs_unix_port


def test_ports(plug_in, flash, monkeypatch, tmp_path):
    found = {}
    monkeypatch.setattr(repl, "ports", lambda usb=None: found if usb is None else {})
    code, _, err = flash(None)
    assert code == 2 and "There is no board" in err and "--port" in err
    found.update({"/dev/ttyACM0": "Board in FS mode", "/dev/ttyACM1": "Debug Probe"})
    code, _, err = flash(None)
    assert code == 2 and "several serial lines" in err and "ttyACM1" in err and "Which one?" in err
    monkeypatch.setattr(repl, "ports", lambda usb=None: {plug_in().port: "a board"})
    assert flash(None, "--dry-run")[0] == 0  # the only one
    code, _, err = flash(None, "--port", "/dev/ttyNONE7")
    assert code == 2 and "can't be opened" in err


def test_a_silent_port_and_a_talkative_one(flash):
    import os
    import pty
    import threading
    import tty
    master, slave = pty.openpty()
    tty.setraw(slave)

    class Port:
        port = os.ttyname(slave)
    start = time.monotonic()
    code, out, err = flash(Port, "--wait", "1")
    assert code == 2 and not out and "is silent" in err and "Thonny" in err and time.monotonic() - start < 10
    over = threading.Event()

    def talk():
        os.set_blocking(master, False)
        while not over.wait(.02):
            with contextlib.suppress(BlockingIOError):  # nobody reads
                os.write(master, b"temperature 21.5\r\n")
    thread = threading.Thread(target=talk)
    thread.start()
    code, out, err = flash(Port, "--wait", "1")
    over.set()
    thread.join()
    assert code == 2 and not out and "does not answer as MicroPython does" in err and "temperature" in err


@pytest.mark.parametrize("what, code, complaint", [("Ctrl-C", 130, "interrupted.*as they were"), ("unplugged", 2, "went away|stopped answering")])
def test_interrupted(plug_in, flash, monkeypatch, what, code, complaint):
    board = plug_in()
    (board.folder / "model.mbn").write_bytes(b"the old one")

    def track(steps, description="", total=None):
        for i, step in enumerate(steps):
            if "mobilenet.mpy" in description and i == 3:
                if what == "Ctrl-C":
                    raise KeyboardInterrupt
                board.unplug()
            yield step
    monkeypatch.setattr(repl, "track", track)
    found, out, err = flash(board, "--wait", "2")
    assert found == code and not out and re.search(complaint, err), err
    assert (board.folder / "model.mbn").read_bytes() == b"the old one" and "main.py" not in names(board)
    if what == "Ctrl-C":
        assert names(board) == ["model.mbn"]
