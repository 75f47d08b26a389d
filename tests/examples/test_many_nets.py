"""The scores of the examples, against SciPy and by hand."""

import importlib.util
import pathlib

import numpy as np
import pytest

for package in ("matplotlib", "scipy", "sklearn"):
    pytest.importorskip(package, reason="the extra `examples`")

from scipy import stats  # noqa: E402

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_lira(rng):
    lira = load("membership_inference.py").lira
    margins = rng.normal(size=(5, 30))
    masks = rng.random((5, 30)) < 0.5
    masks[:, 0], masks[:, 1] = True, False
    masks[0, 2:], masks[1, 2:] = True, False
    target = rng.normal(size=30)
    scores = lira(margins, masks, target)
    assert np.isnan(scores[:2]).all()
    sds = []
    for group in (masks, ~masks):
        squares, freedom = 0, 0
        for image in range(30):
            own = margins[group[:, image], image]
            if len(own):
                squares += ((own - own.mean()) ** 2).sum()
                freedom += len(own) - 1
        sds.append((squares / freedom) ** 0.5)
    for image in range(2, 30):
        inside, outside = (
            margins[group[:, image], image] for group in (masks, ~masks)
        )
        expected = stats.norm(inside.mean(), sds[0]).logpdf(target[image])
        expected -= stats.norm(outside.mean(), sds[1]).logpdf(target[image])
        assert scores[image] == pytest.approx(expected)


def test_label_noise():
    module = load("label_noise.py")
    y = np.arange(200) % 10
    noisy, wrong = module.flip_labels(y, 0.05, seed=0)
    assert wrong.sum() == 10
    np.testing.assert_array_equal(noisy != y, wrong)
    assert noisy.min() >= 0 and noisy.max() <= 9
    scores = np.array([3, 0, 1, 2, 9, 8])
    wrong = np.array([0, 1, 0, 1, 1, 0], bool)
    # The three lowest are the images 1, 2 and 3.
    found = module.precision_and_recall(scores, wrong, 3)
    assert found == (2 / 3, 2 / 3)


def test_rank_correlations(rng):
    module = load("data_attribution.py")
    a, b = rng.integers(0, 9, (2, 40, 3))
    np.testing.assert_allclose(
        module.rank_correlations(a, b),
        [stats.spearmanr(a[:, i], b[:, i]).statistic for i in range(3)],
    )
