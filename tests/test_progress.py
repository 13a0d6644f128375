"""Progress where somebody watches: a terminal, a notebook."""
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from mobilenet_keras import progress
from mobilenet_keras.progress import Bar, note, track


@pytest.fixture
def notebook(monkeypatch):
    """What a notebook would show: the HTML of each picture, in order."""
    display = pytest.importorskip("IPython.display")
    import IPython
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel="of ipykernel"))
    shown = []

    class Handle:
        def update(self, page):
            shown.append(page.data)
    monkeypatch.setattr(display, "display", lambda page, display_id: shown.append(page.data) or Handle())
    return shown


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still but for what a test adds."""
    now = SimpleNamespace(s=100.)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now.s))
    return now


def test_short_work_shows_nothing_in_a_notebook(notebook, clock):
    assert list(track(range(1000), "Counting")) == list(range(1000)) and not notebook


def test_long_work_shows_a_bar_that_vanishes(notebook, clock):
    for _ in track(iter("abc"), "Reading", total=3):
        clock.s += 31
    assert 'value="1" max="3"' in notebook[0] and "Reading, 1:02 left" in notebook[0] and notebook[-1] == ""


def test_a_kept_bar_says_how_it_ended(notebook, clock):
    bar = Bar("epoch 1", 2, keep=True)
    clock.s += .31
    bar.advance()
    bar.say("epoch 2 <b>")
    bar.advance()
    bar.close()
    assert len(notebook) == 2 and 'value="2" max="2"' in notebook[1] and notebook[1].endswith(" epoch 2 &lt;b&gt;</div>")


def test_a_log_hears_of_long_work_now_and_then(clock, capsys):
    """A line every half minute, with the time it took and the time that is left; nothing of what is short, or at its end."""
    for _ in track(range(10), "Reading"):
        clock.s += 20
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "Reading: 20%, 0:40 so far, 2:40 left" and len(told) == 4 and told[-1] == "Reading: 80%, 2:40 so far, 0:40 left"
    for _ in track(iter("ab"), "Waiting"):
        clock.s += 3600
    bar = Bar("epoch", 100, done=50)
    clock.s += 10
    bar.done = 60
    bar.note("epoch 6/10: 98 %")
    told = capsys.readouterr().err
    assert "Waiting: 1, 1:00:00 so far\n" in told and told.endswith("epoch 6/10: 98 %, 0:10 so far, 0:40 left\n")


def test_notes_are_not_red_in_a_notebook(capsys, notebook):
    """Which shows standard error as if something had failed; elsewhere they stay out of the results."""
    note("98 % right")
    assert capsys.readouterr() == ("98 % right\n", "")


def test_notes_stay_out_of_the_results_elsewhere(capsys):
    note("98 % right")
    assert capsys.readouterr() == ("", "98 % right\n")


def test_a_figure_is_drawn_once(tensorflow, monkeypatch):
    """A notebook draws the figures that are open at a cell's end, and its last line besides."""
    plt = pytest.importorskip("matplotlib.pyplot")
    from mobilenet_keras.evaluation import Evaluation
    from mobilenet_keras.run import plot_history
    from mobilenet_keras.training.fine_tune import LearningRates
    rows = [dict(phase=phase, accuracy=.5, validation_accuracy=.4) for phase in ("head", "whole")]
    judged, rates = Evaluation("two of three", ["a", "b"], np.array([0, 1, 1]), np.eye(2)[[0, 1, 0]], []), LearningRates(*np.ones((2, 9)).cumsum(1))
    plots = [judged.plot, lambda: plot_history(rows), rates.plot]
    monkeypatch.setattr(progress, "in_notebook", lambda: True)
    plt.switch_backend("agg")
    plt.close("all")
    for plot in plots:
        assert plot().axes and not plt.get_fignums()
    monkeypatch.undo()
    for plot in plots:
        plot()
    assert len(plt.get_fignums()) == 3, "where plt.show() is to show them, they stay"
    plt.close("all")


def test_a_logger_survives_the_stream_that_it_found():
    """TensorFlow's logger keeps the standard error of its first message; in a conversion that is one for a moment."""
    code = """if True:
        import logging, sys
        from mobilenet_keras.progress import silenced
        with silenced():
            handler = logging.StreamHandler()
            print("inside", file=sys.stderr)
        logger = logging.getLogger("late")
        logger.addHandler(handler)
        logger.warning("after")
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "inside\nafter\n")


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX's")
def test_a_bar_in_a_terminal_gives_the_cursor_back():
    import pty
    ours, theirs = pty.openpty()
    code = "from mobilenet_keras.progress import track\nfor i in track(range(9), 'Counting [sheep]'):\n    if i == 8: raise SystemExit"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=theirs, env=os.environ | {"TERM": "xterm", "COLUMNS": "80"})
    os.close(theirs)
    said = b""
    try:
        while some := os.read(ours, 4096):
            said += some
    except OSError:  # Linux's way to say that the other end was closed
        pass
    assert process.wait() == 0 and b"Counting [sheep]" in said and said.rindex(b"\x1b[?25h") > said.index(b"\x1b[?25l")


@pytest.mark.slow
def test_tensorflow_is_imported_without_a_word():
    """Whatever it wants to say about its processor; in a notebook that would be a red box below the first cell."""
    pytest.importorskip("keras")
    env = {k: v for k, v in os.environ.items() if k not in ("TF_CPP_MIN_LOG_LEVEL", "TF_ENABLE_ONEDNN_OPTS")}
    done = subprocess.run([sys.executable, "-c", "from mobilenet_keras.networks.models import *; MobileNetV1(.25, (32, 32, 3), 2)\n"
                           "import os, tensorflow as tf; tf.get_logger().warning('careful'); print(os.environ['TF_ENABLE_ONEDNN_OPTS'])"],
                          capture_output=True, text=True, env=env)
    assert (done.returncode, done.stdout) == (0, "1\n"), "oneDNN's kernels are asked for, on any processor"
    assert done.stderr.endswith("careful\n") and done.stderr.count("\n") == 1
