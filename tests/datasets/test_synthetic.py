"""Random images, drawn once and for all."""

from __future__ import annotations

import torch
from tiny import composed

from layerpar.datasets.base import LoaderSpec

SHAPE, CLASSES, TRAIN, TEST, SEED = (2, 5, 3), 4, 70, 150, 11


def test_samples_are_their_class_s_pattern_under_noise_however_many_are_drawn_at_once() -> None:
    sizes = [f"dataset.num_train={TRAIN}", f"dataset.num_test={TEST}", f"dataset.num_classes={CLASSES}"]
    overrides = [*sizes, f"dataset.shape={[*SHAPE]}", f"dataset.data_seed={SEED}"]
    dataset = composed("dataset=synthetic", *overrides).dataset
    spec = LoaderSpec(seed=0, batch_size=10, shard=slice(0, 10), images=True, device=torch.device("cpu"))
    batches = list(dataset.loader(spec).test())

    generator = torch.Generator().manual_seed(SEED)
    patterns = torch.randint(0, 256, (CLASSES, *SHAPE), generator=generator)
    labels = torch.randint(0, CLASSES, (TRAIN + TEST,), generator=generator)
    noise = torch.randint(0, 256, (TRAIN + TEST, *SHAPE), generator=generator)
    pixels = (patterns[labels] + noise) // 2
    assert torch.equal(torch.cat([batch.labels for batch in batches]), labels[TRAIN:])
    found = torch.cat([batch.images for batch in batches if batch.images is not None])
    torch.testing.assert_close(found, (pixels[TRAIN:] / 255 - 0.5) / 0.2)
