"""A sweep on a cluster of two nodes, of which a worker, the driver or a node is killed, beside the same one on one machine.

    python benchmarks/sweep.py [PHOTOS]

Needs the extra [sweep]. Without PHOTOS it trains on scikit-learn's digits. Writes benchmarks/sweep.csv, a row for each way: how many epochs the
run that was hit had on the disk before, the fewest that were there afterwards (fewer would be lost ones), and how many runs end with the weights
that they have on one machine, bit for bit. Both nodes are processes of this machine, so the times say nothing of a real cluster's.
"""
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from record import record

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
CHOICES = dict(alpha=[.1, .25], size=32, seeds=2, weights=None, epochs=6, board=None, early_stop=False)


def digits(folder):
    """Four classes of scikit-learn's digits as files."""
    from PIL import Image
    from sklearn.datasets import load_digits
    data, made = load_digits(), {}
    for image, label in zip(data.images, data.target):
        n = made[label] = made.get(label, 0) + 1
        if label < 4 and n <= 50:
            (folder / str(label)).mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray((image * 255 / 16).round().astype(np.uint8))
            picture.resize((32, 32), Image.Resampling.BICUBIC).save(folder / str(label) / f"{n}.png")
    return folder


def drive(photos, folder, address=None):
    """The sweep, in a process of its own."""
    code = f"from mobilenet_keras.sweeps import sweep; sweep({str(photos)!r}, folder={str(folder)!r}, ray={address!r}, **{CHOICES!r})"
    return subprocess.Popen([sys.executable, "-c", code], start_new_session=True)


def epochs(folder):
    """Lines in the logs of all runs: the epochs that are on the disk."""
    return {log.parent.name: len(log.read_text(encoding="utf-8").splitlines()) - 1 for log in Path(folder).glob("*/log.csv")}


def trainers(folder):
    """{run: process} of who holds the lock of a run."""
    held = {run.stat().st_ino: run.name for run in Path(folder).glob("*/") if (run / "log.csv").exists()}
    return {held[int(line.split()[5].split(":")[2])]: int(line.split()[4]) for line in open("/proc/locks", encoding="ascii")
            if line.split()[1] == "FLOCK" and int(line.split()[5].split(":")[2]) in held}


def wait(until, seconds=900):
    """What `until` gives, as soon as it gives something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = until()
        if found:
            return found
        time.sleep(.2)
    raise SystemExit("benchmarks/sweep.py waited in vain")


def between(folder, low, high):
    """A run that has at least `low` and at most `high` epochs and is being trained: (name, its process)."""
    done, held = epochs(folder), trainers(folder)
    return next(((name, held[name]) for name, n in done.items() if low <= n <= high and name in held), None)


def weights(folder):
    """{run: bytes of its weights}"""
    import keras
    return {run.parent.name: b"".join(np.asarray(w).tobytes() for w in keras.models.load_model(run, compile=False).get_weights())
            for run in sorted(Path(folder).glob("*/model.keras"))}


def kill(victim, photos, folder, cluster):
    """A sweep on a cluster, of which something is killed in the middle: a row."""
    began, driver = time.monotonic(), drive(photos, folder, cluster.address)
    name, process = wait(lambda: between(folder, 2, 4))
    before = epochs(folder)[name]
    if victim == "a worker":
        os.kill(process, signal.SIGKILL)
    elif victim == "the driver":
        os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
        wait(lambda: not trainers(folder), 120)
        driver = drive(photos, folder, cluster.address)
    else:
        cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)
        cluster.add_node(num_cpus=1)
    least = before
    while driver.poll() is None:
        least = min(least, epochs(folder).get(name, 0))
        time.sleep(.05)
    if driver.returncode:
        raise SystemExit(f"the sweep failed after {victim} was killed")
    return row("Ray", 2, victim, folder, began) | dict(before=before, fewest_after=least)


def row(way, nodes, victim, folder, began):
    done = epochs(folder)
    return dict(way=way, nodes=nodes, killed=victim, runs=len(done), epochs=sum(done.values()), before="", fewest_after="", same_weights="",
                seconds=round(time.monotonic() - began))


def main():
    from ray.cluster_utils import Cluster
    work, began = Path(tempfile.mkdtemp()), time.monotonic()
    photos = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else digits(work / "digits")
    if drive(photos, work / "here").wait():
        raise SystemExit("the sweep on one machine failed")
    here = weights(work / "here")
    rows = [row("one machine", 1, "", work / "here", began)]
    cluster = Cluster(initialize_head=True, head_node_args=dict(num_cpus=1))
    cluster.add_node(num_cpus=1)
    for victim in ("a worker", "the driver", "a node"):
        folder = work / victim.replace(" ", "_")
        there = kill(victim, photos, folder, cluster)
        rows.append(there | dict(same_weights=sum(w == here[run] for run, w in weights(folder).items())))
        print(rows[-1], flush=True)
    cluster.shutdown()
    print(f"wrote {record(__file__, rows)}")


if __name__ == "__main__":
    main()
