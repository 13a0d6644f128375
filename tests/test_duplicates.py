"""Near-duplicates: exactly the clusters of all pairs, in time that grows with the photos and not with their square."""
import time

import numpy as np
import pytest
from conftest import shared
from PIL import Image

from mobilenet_keras.duplicates import (
    NEAR,
    SAME,
    connected_components,
    gray_thumbnail,
    look_difference,
    members,
    near_duplicates,
    perceptual_hash,
    second_look,
)


def flipped(rng, words, times):
    for _ in range(times):
        words = words ^ (np.uint64(1) << rng.integers(0, 63, len(words)).astype(np.uint64))
    return words


def brute_force(hashes, looks, distance=NEAR, difference=SAME):
    """The same by comparing all pairs, in Python's and NumPy's own words; clusters by walking from photo to photo."""
    near = {i: [] for i in range(len(hashes))}
    bits = np.unpackbits(hashes.view(np.uint8).reshape(-1, 8), axis=1).astype(np.float32)
    x = looks.astype(np.float64) / 16
    square = (x ** 2).sum(1)
    for s in range(0, len(hashes), 500):
        apart = bits[s:s + 500].sum(1)[:, None] + bits.sum(1) - 2 * bits[s:s + 500] @ bits.T
        look = square[s:s + 500, None] + square - 2 * (x[s:s + 500] @ x.T)
        good = (apart <= distance) & (look <= difference ** 2 * 256 + 1e-9) & (hashes[s:s + 500, None] > 0) & (hashes > 0)
        for i, j in zip(*np.nonzero(good)):
            near[i + s].append(j)
    root = -np.ones(len(hashes), int)
    for first in range(len(hashes)):
        todo = [first] if root[first] < 0 else []
        while todo:
            i = todo.pop()
            if root[i] < 0:
                root[i] = first
                todo += near[i]
    return root


@pytest.mark.parametrize("seed,flips,noise", [(0, 5, 1.6), (1, 4, 2.4), (2, 7, 2.7)])
def test_clusters_are_those_of_all_pairs(seed, flips, noise):
    """5,000 photos around 40 hashes, with 400 looks: crowds, chains, blank photos and exact copies."""
    rng, n = np.random.default_rng(seed), 5000
    hashes = flipped(rng, rng.integers(1, 1 << 63, 40, dtype=np.uint64)[rng.integers(0, 40, n)], flips)
    looks = (rng.integers(-25, 26, (400, 256))[rng.integers(0, 400, n)] + rng.normal(0, noise, (n, 256))).astype(np.int8)
    hashes[::100] = 0
    hashes[1:200:4], looks[1:200:4] = hashes[0:199:4], looks[0:199:4]
    found, wanted = near_duplicates(hashes, looks), brute_force(hashes, looks)
    np.testing.assert_array_equal(found, wanted)
    assert 50 < len(members(found)) and 100 < len(np.unique(found)) < 4990


def test_clusters_of_real_photos_are_those_of_all_pairs():
    files = sorted(shared("data/trash6").rglob("paper*.jpg"))
    thumbnails = np.stack([gray_thumbnail(Image.open(f)) for f in files])
    hashes, looks = perceptual_hash(thumbnails), second_look(thumbnails)
    found = near_duplicates(hashes, looks)
    np.testing.assert_array_equal(found, brute_force(hashes, looks))
    assert {"paper185 paper390", "paper345 paper451"} <= {" ".join(sorted(files[i].stem for i in m)) for m in members(found)}


@pytest.mark.parametrize("what", ["all the same", "two that alternate", "one scene with noise", "blank", "all different"])
def test_no_set_of_photos_takes_the_square_of_its_time(what):
    rng, n = np.random.default_rng(0), 20_000
    hashes, looks = rng.integers(1, 1 << 63, n, dtype=np.uint64), rng.integers(-30, 31, (n, 256), dtype=np.int8)
    if what in ("all the same", "two that alternate"):
        hashes, looks = np.repeat(hashes[:1], n), looks[np.arange(n) % (2 if "two" in what else 1)]
    elif what == "one scene with noise":
        hashes, looks = flipped(rng, np.repeat(hashes[:1], n), 4), looks[:1] + rng.integers(-2, 3, (n, 256), dtype=np.int8)
    elif what == "blank":
        hashes[:] = 0
    start = time.process_time()
    clusters = len(np.unique(near_duplicates(hashes, looks)))
    assert clusters == {"all the same": 1, "two that alternate": 2, "one scene with noise": 1}.get(what, n)
    assert time.process_time() - start < 6, "all pairs would be 200 million"


def test_hashes_are_the_signs_of_a_cosine_transform():
    """Against the definition (Rao & Yip 1990), summed in float64 without a matrix."""
    gray = np.asarray(Image.fromarray(np.random.default_rng(3).integers(0, 256, (6, 6), dtype=np.uint8)).resize((32, 32)))
    x = np.arange(32)
    wave = lambda k, x: np.cos(np.pi * k * (2 * x + 1) / 64)  # noqa: E731
    low = [sum(gray[r] @ wave(v, x) * wave(u, r) for r in range(32)) for u in range(8) for v in range(8)][1:]
    bits = np.unpackbits(perceptual_hash(gray[None]).view(np.uint8))
    np.testing.assert_array_equal(bits[:63], np.array(low) > np.median(low))
    assert perceptual_hash(np.full((1, 32, 32), 7, np.uint8))[0] == 0


def test_a_look_is_a_correlation():
    """Of two photos' looks the difference is sqrt(2(1 - r)), r as NumPy's corrcoef gives it."""
    rng = np.random.default_rng(0)
    a, b = (np.asarray(Image.fromarray(rng.integers(0, 256, (9, 9), dtype=np.uint8)).resize((32, 32))) for _ in range(2))
    small = [np.asarray(p, float).reshape(16, 2, 16, 2).mean((1, 3)).ravel() for p in (a, b)]
    r = np.corrcoef(small)[0, 1]
    assert look_difference(*(second_look(p[None]) for p in (a, b)))[0] == pytest.approx(np.sqrt(2 * (1 - r)), abs=.01)


def sign(rng, x, thumb):
    """A light hand before a darker plain wall, 0.55 of the photo high; the thumb is up, or down."""
    photo = np.full((96, 96), 120.) + rng.normal(0, 2, (96, 96))
    photo[40:, x:x + 26] += 80
    photo[slice(12, 40) if thumb else slice(60, 74), slice(x + 8, x + 18) if thumb else slice(x - 18, x)] += 80
    return Image.fromarray(photo.clip(0, 255).astype(np.uint8))


def test_signs_before_a_plain_wall_are_told_apart():
    """Photos whose lowest frequencies are near and which anyone can tell apart; and copies of them, which are joined."""
    rng = np.random.default_rng(0)
    pairs = [(sign(rng, x, True), sign(rng, x, False)) for x in range(30, 50, 2)]
    for a, b in pairs:
        copy = a.resize((60, 60)).point(lambda v: v * .8 + 10)
        t = np.stack([gray_thumbnail(p) for p in (a, b, copy)])
        hashes, looks = perceptual_hash(t), second_look(t)
        assert near_duplicates(hashes, looks).tolist() == [0, 1, 0]
        assert near_duplicates(np.repeat(hashes[:1], 3), looks).tolist() == [0, 1, 0], "also where the hash sees no difference"


def test_components_of_no_and_of_long_chains():
    assert connected_components(3, []).tolist() == [0, 1, 2] and connected_components(0, []).tolist() == []
    order = np.random.default_rng(0).permutation(5000)
    assert not connected_components(5000, zip(order[1:], order[:-1])).any()
