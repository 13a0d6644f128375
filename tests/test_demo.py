"""The demo, as the README gives it but for the length of its training."""
import json

import pytest
from helpers import mobilenet


@pytest.mark.slow
def test_demo(tmp_path):
    """Its accuracy, its proof and its files, after 16 epochs."""
    code, out, err = mobilenet("demo", "--epochs", "16", "--json", cwd=tmp_path)
    assert code == 0, err
    facts = json.loads(out)
    assert facts["n"] == 450 and facts["float_accuracy"] >= .95 and facts["int8_accuracy"] >= .95
    assert facts["verified"] and (tmp_path / facts["model"]).is_file()
    assert facts["board"]["as_built"] and facts["board"]["arena_bytes"] < facts["arena_bytes"] / 4
    assert (tmp_path / facts["uf2"]).read_bytes()[:4] == b"UF2\n"
    assert (facts["reference"] == "tflm") == (facts["tflm"] is not None)
