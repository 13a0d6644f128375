"""Tasks as plain values in files that may be anybody's."""
import pytest

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.tasks.kinds import TASKS, task_of


def test_there_and_back():
    assert task_of(None, ()) is None
    for kind in TASKS:
        task = TASKS[kind](("a", "b"))
        assert task.to_dict()["kind"] == kind and task_of(task.to_dict(), ["a", "b"]) == task


@pytest.mark.parametrize("facts", [{}, [], "centroid", 3, {"kind": None}, {"kind": "x"*10_000}, {"kind": ["centroid"]},
                                   {"kind": "centroid", "threshold": []}, {"kind": "centroid", "threshold": 7},
                                   {"kind": "centroid", "threshold": .5, "classes": "ab"}])
def test_what_no_task_wrote(facts):
    with pytest.raises(MobileNetError) as e:
        task_of(facts, ("a", "b"))
    assert "\n" not in str(e.value) and len(str(e.value)) < 400


def test_places_without_names():
    with pytest.raises(MobileNetError, match="names no classes"):
        task_of({"kind": "centroid"}, ())
