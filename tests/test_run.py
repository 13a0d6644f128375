"""A folder with a training: what it remembers of its photos."""
import json
import shutil

import numpy as np
import pytest
from conftest import ROOT
from small_training import spots


def test_a_run_knows_its_photos(whole, tmp_path):
    """Photos that were added since are told: a new split mixes what was learned from with what is tested on."""
    assert whole.differs(spots()) == ""
    assert "for validation then, " in whole.differs(spots(40))
    assert "with other pixels or labels" in whole.differs(spots(seed=1))


def test_a_run_without_its_checkpoint_is_told(whole, tmp_path):
    from mobilenet_keras.core import MobileNetError
    from mobilenet_keras.run import Run
    shutil.copytree(whole.folder, tmp_path / "run")
    facts = json.loads((tmp_path / "run/run.json").read_text())
    (tmp_path / "run/run.json").write_text(json.dumps(facts | dict(finished=False)))
    with pytest.raises(MobileNetError, match="its checkpoint.npz is gone: nothing that was learned is left"):
        Run.open(tmp_path / "run")


def test_a_run_of_an_older_version_is_read_forever(tensorflow):
    """tests/golden/run-1.0 was written before run.json had a format; keras wrote its model.keras."""
    from mobilenet_keras.run import Run
    run = Run.open(ROOT / "tests/golden/run-1.0")
    assert (run.classes, run.chosen, run.validation_accuracy, len(run.history)) == (["dark", "light"], 5, 1., 6)
    image = np.arange(432, dtype="float32").reshape(1, 12, 12, 3) % 37 / 18.5 - 1
    assert np.abs(run.net(image).numpy() - [[.5495453, .4504547]]).max() < 1e-5


@pytest.mark.parametrize("form, known", [
    ("1.0", True), ("1.1", True), ("1.2", False), ("2.0", False), (1, False), ("1", False), ("1.-1", False), ("", False)])
def test_a_run_of_a_newer_version_is_refused(form, known, tmp_path):
    from mobilenet_keras.core import MobileNetError
    from mobilenet_keras.run import run_facts
    facts = json.loads((ROOT / "tests/golden/run-1.0/run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(facts | dict(format=form)))
    if known:
        assert run_facts(tmp_path)["classes"] == facts["classes"]
        return
    with pytest.raises(MobileNetError, match="written by a newer mobilenet-keras.*reads up to 1.1"):
        run_facts(tmp_path)


def test_a_run_says_its_format(whole):
    """What finds things writes a 1.1, see test_goals.py; a classifier's run can be read by what was before."""
    assert json.loads((whole.folder / "run.json").read_text())["format"] == "1.0"


def test_the_legend_of_the_curves_covers_nothing():
    """It stands above the axes: inside are curves that may go anywhere, and the words "whole network" at the bottom."""
    from mobilenet_keras.run import plot_history
    pyplot = pytest.importorskip("matplotlib.pyplot")
    history = [dict(phase=phase, accuracy=.5, validation_accuracy=.4) for phase in ("head",) * 9 + ("whole",) * 3]
    fig = plot_history(history)
    fig.canvas.draw()
    (ax,) = fig.axes
    legend, inside = ax.get_legend().get_window_extent(), ax.get_window_extent()
    pyplot.close(fig)
    assert legend.y0 >= inside.y1 - 1 and legend.x1 <= inside.x1 + 20
    assert any("whole network" in t.get_text() for t in ax.texts)
