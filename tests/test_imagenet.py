"""ImageNet's classes and what photos are taken for."""
from conftest import shared


def test_a_photo_gets_a_name(tensorflow):
    """Labels of an independent list: Coral's."""
    labels = shared("models/coral/imagenet_labels.txt").read_text().splitlines()
    from mobilenet_keras.networks.imagenet import imagenet_classes
    from mobilenet_keras.networks.importers import load
    for ours, theirs in zip(imagenet_classes(1001), labels, strict=True):
        assert ours.split()[0].lower() in theirs.lower()
    net = load(shared("models/coral/mobilenet_v1_0.25_128_quant.tflite"))
    (name, p), *_ = net.predict_photo(shared("models/coral/cat.bmp"))
    assert name in ("Egyptian cat", "tabby", "tiger cat") and 0 < p < 1
