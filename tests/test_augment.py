"""Random views of photos."""
import numpy as np
from small_training import tiny


def test_views_are_cut_from_the_larger_photos(tensorflow):
    """A checkerboard with squares of one pixel at the network's size: turned and moved it stays sharper where it is read from a larger one."""
    from mobilenet_keras.photos import Photos
    from mobilenet_keras.training.augment import AUGMENTATION
    from mobilenet_keras.training.fine_tune import _Trainer
    board = ((np.indices((48, 48)) // 4).sum(0) % 2 * 255).astype(np.uint8)
    contrast = []
    for augment_scale in (1, 4):
        photos = Photos.from_arrays((np.stack([board] * 8), np.arange(8) % 2), image_size=12, validation=.25, group=False,
                                    augment_scale=augment_scale)
        assert photos.validation.large is None and photos.train.pixels.shape == (6, 12, 12, 3)
        assert photos.train.large is None if augment_scale == 1 else photos.train.large.shape == (6, 48, 48, 3)
        settings = dict(label_smoothing=0, class_weights=None, augment=AUGMENTATION, seed=0, batch_size=4, head_views=1)
        views, again = (_Trainer(tiny(0), photos, settings).augmented(3)(np.arange(6))[0] for _ in range(2))
        assert views.shape == (6, 12, 12, 3) and views.dtype == np.float32 and (views == again).all()
        contrast.append(views.std())
    assert contrast[1] > 1.3 * contrast[0]


def test_the_views_of_a_set_are_those_of_training(tensorflow):
    """Pixel for pixel what the trainer makes of the same seed, but for the network's scaling."""
    import pytest

    from mobilenet_keras import Photos
    from mobilenet_keras.core import MobileNetError
    from mobilenet_keras.training.fine_tune import _Trainer
    rng = np.random.default_rng(0)
    photos = Photos.from_arrays((rng.integers(0, 256, (12, 24, 24, 3), np.uint8), np.arange(12) % 2), image_size=12, augment_scale=2, group=False)
    augment = dict(flip="both", rotation=.2, cutout=.4, contrast=.3)
    net = tiny(0)
    trainer = _Trainer(net, photos, dict(label_smoothing=0, class_weights=None, augment=augment, seed=5, batch_size=4, head_views=1))
    sheet = np.asarray(photos.augmented(augment, views=3, photos=2, side=12, seed=5))
    for row in range(2):
        rows = [sheet[row * 16:row * 16 + 12, x:x + 12] for x in (0, 28, 44, 60)]
        i = next(i for i, p in enumerate(photos.train.pixels) if (p == rows[0]).all())
        for epoch in range(3):
            (wanted,), _ = trainer.augmented(epoch)(np.array([i]))
            rule = trainer.rule
            back = wanted * np.float32(rule.std) + np.float32(rule.mean) if rule.std[0] else wanted
            assert np.abs(back - rows[1 + epoch]).max() <= .51
    for wrong in (dict(views=0), dict(augment=dict(blur=1)), dict(seed=-1), dict(side=0)):
        with pytest.raises(MobileNetError):
            photos.augmented(**wrong)
