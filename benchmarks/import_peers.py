"""Every layout of Caffe and PyTorch, run by OpenCV and by PyTorch and by what is imported from it: the largest difference of a logit.

    MOBILENET_PEERS=peers python benchmarks/import_peers.py   # a minute; benchmarks/import_accuracy.py says how to make `peers`

Weights and images come from NumPy's RandomState, so what the peers answer can be told without them: it is put into tests/peers.npz,
for the tests to compare with where no peer is installed, and the differences into benchmarks/import_peers.csv.
"""
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
HERE = Path(__file__).resolve().parent
TESTS = HERE.parent / "tests"
sys.path.insert(0, str(TESTS))

import foreign  # noqa: E402
import numpy as np  # noqa: E402
from record import record  # noqa: E402

REAL = "mobilenet_v2-b0353104.pth"


def row(system, alpha, weights, peer, theirs, path, images, **options):
    """The comparison of a file with what a peer made of it."""
    from mobilenet_keras.networks.importers import load
    net = load(path, input_shape=images.shape[1:], **{"classifier_activation": None, **options})
    difference = np.abs(np.asarray(net(images)) - theirs["y"])
    assert (net.source["system"], net.source["alpha"]) == (system, alpha), net.source
    return dict(system=system, alpha=alpha, weights=weights, peer=f"{peer} {theirs['version']}", images=len(images), size=images.shape[1],
                deviation_of_logits=round(float(theirs["y"].std()), 3), largest_difference=f"{difference.max():.1e}")


def measure(folder, answers):
    """Rows of the table; `answers` gets what the tests need."""
    x = foreign.noise(64)
    for system, make in foreign.CAFFE.items():
        for alpha in (.35, 1.):
            theirs = foreign.run_caffe(make(alpha, 40), folder, x)
            answers[f"{system} {alpha}"] = theirs["y"]
            yield row(system, alpha, "random", "OpenCV", theirs, folder / "net.caffemodel", x)
    for system, build in foreign.PYTORCH.items():
        theirs = foreign.run_pytorch(build, folder, x, "torch.save(net.state_dict(), 'w.pth')")
        answers[system], answers[f"{system} shapes"] = theirs["y"], theirs["shapes"]
        yield row(system, float(build.split(",")[-2].split("(")[-1]), "random", "PyTorch", theirs, folder / "w.pth", x,
                  classifier_activation="log_softmax" if system == "randl" else None)
    path, x = foreign.peer_file(REAL), foreign.noise(96)
    theirs = foreign.in_peer(f"{foreign.TORCH}\nnet = Net('torchvision', 1.).eval()\n"
                             f"net.load_state_dict(torch.load({str(path)!r}, weights_only=True))\n"
                             "outputs['y'], outputs['version'] = logits(net, inputs['x']), torch.__version__", folder, x=x)
    answers[REAL] = theirs["y"]
    yield row("torchvision", 1., REAL, "PyTorch", theirs, path, x)


if __name__ == "__main__":
    rows, answers = [], {}
    with tempfile.TemporaryDirectory() as scratch:
        for one in measure(Path(scratch), answers):
            print(*one.values(), sep="  ", flush=True)
            rows.append(one)
    np.savez_compressed(TESTS / "peers.npz", **answers)
    record(__file__, rows)
