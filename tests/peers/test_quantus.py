"""
Pointing game and energy share against Quantus, an independent implementation for classifiers.

Quantus asks for another OpenCV than ours, so it is in no extra: pip install --no-deps quantus
cachetools
"""

import numpy as np
import pytest

from d2_saliency.evaluation.regions import energy_share, peak_share

quantus = pytest.importorskip(
    "quantus", reason="needs quantus: pip install --no-deps quantus cachetools"
)


@pytest.mark.parametrize(
    "name, ours", [("PointingGame", peak_share), ("AttributionLocalisation", energy_share)]
)
def test_regions(name, ours):
    rng = np.random.default_rng(0)
    maps, regions = rng.random((40, 24, 32)).astype(np.float32), rng.random((40, 24, 32)) < 0.3
    images, labels = np.zeros((40, 3, 24, 32), dtype=np.float32), np.zeros(40, dtype=int)
    peer = getattr(quantus, name)(abs=False, normalise=False, disable_warnings=True)
    theirs = peer(
        model=None, x_batch=images, y_batch=labels, a_batch=maps[:, None], s_batch=regions[:, None]
    )
    expected = [ours(m, r) for m, r in zip(maps, regions)]
    assert 0.1 < np.mean(expected) < 0.9
    np.testing.assert_allclose(np.array(theirs, dtype=float), expected, atol=1e-6)
