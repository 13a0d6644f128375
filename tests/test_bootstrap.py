"""The bootstrap over photos: SciPy's own finds the same interval, and it is seeded."""
import numpy as np
import pytest

from mobilenet_keras.core import MobileNetError
from mobilenet_keras.tasks.bootstrap import bootstrap_interval, known_mean


def test_the_interval_is_scipys():
    stats = pytest.importorskip("scipy.stats")
    right, of = np.random.default_rng(0).integers(0, 20, (2, 60)) + [[0], [20]]
    ratio = lambda a, b, axis=-1: a.sum(axis) / b.sum(axis)  # noqa: E731
    wanted = stats.bootstrap((right, of), ratio, paired=True, n_resamples=4000, method="percentile", rng=np.random.default_rng(1)).confidence_interval
    found = bootstrap_interval(lambda drawn: drawn @ right / (drawn @ of), 60, 4000)
    assert np.allclose(found, wanted, atol=.1 * (wanted.high - wanted.low))


def test_photos_are_drawn_as_often_as_there_are_photos():
    drawn = []
    bootstrap_interval(lambda d: drawn.append(d) or 0., 7, 50)
    assert all(d.sum() == 7 and d.shape == (7,) for d in drawn) and len({d.tobytes() for d in drawn}) > 40


def test_draws_without_the_figure_are_left_out():
    some = iter([np.nan, 1, 2, 3, np.nan])
    assert bootstrap_interval(lambda d: next(some), 3, 5, .5) == (1.5, 2.5)
    assert np.isnan(bootstrap_interval(lambda d: np.nan, 3, 5)).all()


@pytest.mark.parametrize("photos, repeats, confidence", [(0, 10, .95), (3, 0, .95), (3, 10, 1), (3, 10, 0)])
def test_wrong_numbers(photos, repeats, confidence):
    with pytest.raises(MobileNetError, match="Received"):
        bootstrap_interval(sum, photos, repeats, confidence)


def test_a_mean_of_what_is_known():
    assert known_mean([np.nan, 1, 2]) == 1.5 and np.isnan(known_mean([])) and np.isnan(known_mean(np.full((2, 2), np.nan)))
