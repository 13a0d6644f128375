"""A board's folder."""
from conftest import ROOT

from mobilenet_keras.mcu.target import targets


def test_adding_a_board_takes_under_150_lines():
    folder = ROOT / "microcontroller/boards"
    for t in targets().values():
        sources = [name for name in t.sources if not name.startswith("rp2_usb.")]  # a board can do without a console over USB
        files = [folder / t.id / "board.txt", *(folder / name for name in sources)]
        assert sum(len(f.read_text().splitlines()) for f in files) < 150, t.id
        assert len(files[0].read_text().splitlines()) < 30
