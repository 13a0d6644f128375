"""Memory and time of reading many photos and of finding near-duplicates among many hashes, each in a fresh process.

    python benchmarks/photos_scale.py           # prints a table and writes benchmarks/photos_scale.csv
                                               # (some 20 minutes on two idle cores, 20 GB of disk)
    python benchmarks/photos_scale.py --photos 2000 --hashes 10000

The photos are made: 160x120 JPEGs of coloured noise that was blurred to scenes, in ten class folders; one in fifty is a smaller copy of another.
The hashes are random (the easiest), clumped (as photos' are: 2,000 scenes, each bit of a scene's hash flipped with probability 0.1),
of one scene seen again and again (hashes and looks near one another), or the same hash with looks that differ (the worst: quadratic).
"""
import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from record import record


def make(job):
    """A hundred photos of one class folder."""
    folder, first = job
    rng = np.random.default_rng(first)
    for i in range(first, first + 100):
        if i % 50 != 49:  # else a copy of the one before, at another size
            scene = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8)).resize((160, 120), Image.Resampling.BICUBIC)
        out = io.BytesIO()
        (scene if i % 50 != 49 else scene.resize((120, 90))).save(out, "JPEG", quality=80)
        (Path(folder) / f"{i}.jpg").write_bytes(out.getvalue())


def photos(folder, n):
    """`n` photos below `folder`, in ten classes."""
    jobs = []
    for first in range(0, n, 100):
        name = Path(folder) / f"class{first // 100 % 10}"
        name.mkdir(exist_ok=True)
        jobs.append((name, first))
    with ProcessPoolExecutor() as pool:
        list(pool.map(make, jobs, chunksize=4))


def hashes(kind, n):
    """uint64 (n,) and int8 (n, 256)."""
    rng, one = np.random.default_rng(0), np.uint64(1)
    words = rng.integers(1, 1 << 63, n, dtype=np.uint64)
    looks = rng.integers(-30, 31, (n, 256), dtype=np.int8)
    if kind == "clumped":
        words = rng.integers(1, 1 << 63, 2000, dtype=np.uint64)[rng.integers(0, 2000, n)]
        for bit in range(63):
            words ^= (rng.random(n) < .1).astype(np.uint64) << np.uint64(bit)
    elif kind == "one scene":
        words = np.repeat(words[:1], n)
        for _ in range(4):
            words ^= one << rng.integers(0, 63, n).astype(np.uint64)
        looks = (looks[:1] + rng.integers(-2, 3, (n, 256), dtype=np.int8))
    elif kind == "one hash":
        words = np.repeat(words[:1], n)
    return words, looks


def measure(kind, argument, n):
    """Run in a process of its own: a dict of facts as JSON on standard output."""
    import resource
    if kind == "folder":
        from mobilenet_keras.photos import Photos
        start = time.perf_counter()
        made = Photos.from_folder(argument)
        facts = dict(clusters=len(made.duplicates), parts=f"{len(made.train)}/{len(made.validation)}/{len(made.test)}")
        one = made.train.pixels[np.arange(0, len(made.train), max(1, len(made.train) // 64))]
        assert one.shape[1:] == (96, 96, 3)
    else:
        from mobilenet_keras.duplicates import members, near_duplicates
        words, looks = hashes(argument, n)
        start = time.perf_counter()
        facts = dict(clusters=len(members(near_duplicates(words, looks))), parts="")
    print(json.dumps(dict(what=kind if kind == "folder" else argument, n=n, seconds=round(time.perf_counter() - start, 1),
                          peak_mb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024), **facts)))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--photos", type=int, nargs="*", default=[2_000, 20_000, 200_000])
    parser.add_argument("--hashes", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--measure", nargs=3)
    a = parser.parse_args()
    if a.measure:
        return measure(a.measure[0], a.measure[1], int(a.measure[2]))
    rows = []

    def run(*what):
        done = subprocess.run([sys.executable, __file__, "--measure", *map(str, what)], stdout=subprocess.PIPE, text=True, check=True, env=os.environ)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print("  ".join(f"{k} {v}" for k, v in rows[-1].items()), flush=True)
        record(__file__, rows)

    for n in a.photos:
        with tempfile.TemporaryDirectory() as folder:
            photos(folder, n)
            run("folder", folder, n)
    for n in a.hashes:
        for kind in ("random", "clumped", "one scene", *["one hash"] * (n <= 10_000)):
            run("hashes", kind, n)


if __name__ == "__main__":
    main()
