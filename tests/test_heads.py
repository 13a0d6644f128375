"""Heads on ImageNet's own body: few photos a class, similar photos, and back to a classifier that exports."""
import numpy as np
import pytest
from conftest import shared


@pytest.fixture(scope="module")
def photos(tensorflow):
    """Ten photos of each class to learn from, the test part to be asked about."""
    from mobilenet_keras.photos import Part, Photos
    found = Photos.from_folder(shared("data/trash6"), 96)
    rng = np.random.default_rng(0)
    at = np.concatenate([rng.permutation(np.flatnonzero(found.train.labels == k))[:10] for k in range(6)])
    pick = lambda part, at: Part(part.pixels[at], part.labels[at], tuple(part.paths[i] for i in at), part.classes)  # noqa: E731
    return pick(found.train, at), pick(found.test, np.arange(0, len(found.test), 3))


def test_ten_photos_a_class_and_no_training(photos):
    from mobilenet_keras.evaluation import evaluate
    from mobilenet_keras.networks.heads import embed, embedding_head, few_shot, retrieve
    from mobilenet_keras.networks.models import MobileNetV1
    few, test = photos
    net = MobileNetV1(.25, (96, 96, 3), 6, str(shared("models/keras/mobilenet_v1_0.25_224.h5")))
    found = few_shot(net, few)
    assert found.classes == list(few.classes)
    assert evaluate(found, test).accuracy > .4  # chance is 0.17
    vectors = embedding_head(net)
    at, cosines = retrieve(embed(vectors, test.pixels), embed(vectors, few.pixels), 1)
    assert (few.labels[at[:, 0]] == test.labels).mean() > .4 and cosines.max() <= 1.00001
