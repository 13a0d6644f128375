"""A folder with a training: what it remembers of its photos."""
import json
import shutil

import pytest
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
