"""Boxes are judged one by one; a set is a list that says what it holds."""
import numpy as np
import pytest
from PIL import Image

from mobilenet_keras.annotated import ROUNDING, Annotated, Gathered, clean_boxes, read_mask, turn_boxes
from mobilenet_keras.core import MobileNetError


def test_boxes_in_the_photo_stay_as_they_are():
    rng = np.random.default_rng(0)
    corners = np.sort(rng.random((200, 2, 2)), axis=1).reshape(200, 4)
    inside, usable, faults = clean_boxes(corners, range(200))
    assert usable.all() and not faults and abs(inside - corners).max() < 1e-7


def test_any_corners_give_boxes_in_the_photo_or_a_reason():
    """Every box is usable and untouched, or told; what is usable lies in the photo and has an area."""
    rng = np.random.default_rng(1)
    corners = rng.choice([0, .2, .2000001, .7, 1, 1 + ROUNDING / 2, 1.5, -.5, -1e308, 1e308, np.nan, np.inf], (5000, 4))
    inside, usable, faults = clean_boxes(corners, rng.integers(0, 3, 5000))
    kept = inside[usable]
    assert ((kept >= 0) & (kept <= 1)).all() and (kept[:, 2:] > kept[:, :2]).all() and 100 < usable.sum() < 2000
    untouched = [i for i in range(5000) if i not in faults]
    assert usable[untouched].all() and abs(inside[untouched] - corners[untouched]).max() <= ROUNDING
    assert all(("clipped" in why) == usable[i] for i, why in faults.items())


def test_turning_twice_is_a_mirror_or_nothing():
    """5 and 7 are their own inverse, 6 and 8 undo one another."""
    corners = np.sort(np.random.default_rng(0).random((20, 2, 2)), axis=1).reshape(20, 4)
    for first, second in ((5, 5), (7, 7), (6, 8), (8, 6)):
        assert abs(turn_boxes(turn_boxes(corners, first), second) - corners).max() < 1e-12


def test_only_masks_have_masks(tmp_path):
    boxes = Annotated("boxes", ["ace"], [], [], [], [])
    with pytest.raises(MobileNetError, match="have boxes, no masks"):
        boxes.mask(0)
    Image.fromarray(np.uint8([[0, 7]])).save(tmp_path / "m.png")
    levels = np.full(256, 255, np.uint8)
    levels[[0, 7]] = 0, 1
    masks = Annotated("masks", ["background", "leaf"], [tmp_path / "a.jpg"], [tmp_path / "m.png"], [None], [(2, 1)], levels=levels)
    assert masks.mask(0).tolist() == [[0, 1]] and masks.counts() == dict(background=1, leaf=1)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "I;16", "RGB"])
def test_masks_of_other_kinds(mode, tmp_path):
    """A value a pixel, or a sentence."""
    if mode == "I;16":
        Image.fromarray(np.uint16([[0, 300]])).save(tmp_path / "m.png")
    else:
        Image.fromarray(np.uint8([[0, 3]])).convert("RGB" if mode == "RGB" else mode).save(tmp_path / "m.png")
    if mode in ("RGB", "RGBA"):
        assert read_mask(tmp_path / "m.png").tolist() == [[0, 3]]
    else:
        with pytest.raises(MobileNetError, match="coloured picture|values up to 300"):
            read_mask(tmp_path / "m.png")


def test_names_are_kept_from_leaving(tmp_path):
    """Every spelling of a way out, and names that are none."""
    (tmp_path / "set/a").mkdir(parents=True)
    for file in (tmp_path / "secret.jpg", tmp_path / "set/a/1.jpg", tmp_path / "setting.jpg"):
        Image.new("RGB", (4, 4)).save(file)
    g = Gathered(tmp_path / "set")
    folders = [tmp_path / "set/a", tmp_path / "set"]
    assert g.photo("../a/1.jpg", folders) == tmp_path / "set/a/1.jpg" == g.photo("a\\1.jpg", folders)
    for name in ("../../secret.jpg", "..\\..\\secret.jpg", "a/../../secret.jpg", "../setting.jpg", str(tmp_path / "secret.jpg"),
                 "//host/a.jpg", "c:1.jpg", "", " ", None, 3, "x" * 5000, "\0"):
        with pytest.raises(MobileNetError):
            g.photo(name, folders)
