"""The tables of both papers and the rules that round, without Keras."""
import subprocess
import sys

import pytest

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.networks.geometry import V1_BLOCKS, V2_STAGES, block_channels, last_channels, make_divisible


def test_strides_and_channels_are_the_papers():
    assert [s for _, s in V1_BLOCKS].count(2) == 4 and V1_BLOCKS[-1] == (1024, 1) and sum(n for _, _, n, _ in V2_STAGES) == 17
    assert [block_channels(.25, 1, 1, False)(c) for c, _ in V1_BLOCKS] == [16, 32, 32, 64, 64, *[128] * 6, 256, 256]
    assert [block_channels(1.4, 8, 8, True)(c) for _, c, _, _ in V2_STAGES] == [24, 32, 48, 88, 136, 224, 448], "Keras Applications, alpha 1.4"
    assert [last_channels(a, 8, True) for a in (.35, 1.3, 1.4)] == [1280, 1664, 1792] and last_channels(.5, 8, False) == 640


def test_no_channel_falls_more_than_a_tenth():
    assert all(.9 * v <= make_divisible(v) and make_divisible(v) % 8 == 0 for v in range(1, 2000))


@pytest.mark.parametrize("wrong", [dict(alpha=0), dict(alpha=float("nan")), dict(divisible_by=0), dict(min_depth=1.5), dict(rounding="up")])
def test_wrong_widths_are_refused(wrong):
    given = dict(alpha=1, divisible_by=8, min_depth=8, whole=True, rounding="int") | wrong
    with pytest.raises(MobileNetError, match="Received"):
        block_channels(**given)


def test_it_needs_no_keras():
    code = "import sys, mobilenet_keras.networks.geometry; print('keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
