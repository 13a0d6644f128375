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
        views, again = (_Trainer(tiny(0), photos, settings).augmented(3)(np.arange(6)) for _ in range(2))
        assert views.shape == (6, 12, 12, 3) and views.dtype == np.float32 and (views == again).all()
        contrast.append(views.std())
    assert contrast[1] > 1.3 * contrast[0]
