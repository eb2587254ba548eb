"""Every worker of every mode sees the same pixels, whatever its share of the batch."""

from collections.abc import Iterable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from layerpar.datasets.augment import UNCHANGED, Augment
from layerpar.datasets.base import Batch, LoaderSpec, epoch_order
from layerpar.datasets.memory import MemoryLoader, Samples

AUGMENT = Augment(pad=2, flip=True, cutout=3)
GENERATOR = torch.Generator().manual_seed(0)
TRAIN = Samples(
    torch.randint(0, 256, (50, 3, 6, 5), dtype=torch.uint8, generator=GENERATOR),
    torch.arange(50, dtype=torch.int64),
)
TEST = Samples(
    torch.randint(0, 256, (2300, 3, 6, 5), dtype=torch.uint8, generator=GENERATOR), torch.arange(2300) % 10
)


def loader(
    *,
    augment: Augment = AUGMENT,
    shard: slice = slice(0, 16),
    images: bool = True,
    seed: int = 0,
    channels_last: bool = False,
) -> MemoryLoader:
    spec = LoaderSpec(
        seed=seed,
        batch_size=16,
        shard=shard,
        images=images,
        device=torch.device("cpu"),
        channels_last=channels_last,
    )
    return MemoryLoader(TRAIN, TEST, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7), spec=spec, augment=augment)


def pixels(batches: Iterable[Batch]) -> Tensor:
    return torch.cat([batch.images for batch in batches])


def labels(batches: Iterable[Batch]) -> Tensor:
    return torch.cat([batch.labels for batch in batches])


def test_some_steps_of_an_epoch_are_those_of_the_whole() -> None:
    whole, some = list(loader().train(2)), list(loader().train(2, range(1, 3)))
    assert pixels(whole[1:3]).equal(pixels(some))
    assert labels(whole[1:3]).equal(labels(some))


def test_images_are_made_once_when_they_are_asked_for() -> None:
    made: list[Tensor] = []

    def load() -> Tensor:
        made.append(torch.arange(8.0))
        return made[-1]

    batch = Batch(load, torch.arange(8), torch.arange(8))
    parts = batch.split(2)
    assert not made
    assert torch.cat([part.images for part in parts]).equal(batch.images)
    assert len(made) == 1


@given(cut=st.integers(1, 15), seed=st.integers(0, 5), epoch=st.integers(0, 3))
@settings(max_examples=20)
def test_shards_put_together_are_the_batch_of_a_single_worker(cut: int, seed: int, epoch: int) -> None:
    whole = list(loader(seed=seed).train(epoch))
    parts = [loader(seed=seed, shard=shard).train(epoch) for shard in (slice(0, cut), slice(cut, 16))]
    for batch, low, high in zip(whole, *parts, strict=True):
        assert batch.images.equal(torch.cat((low.images, high.images)))
        assert batch.labels.equal(torch.cat((low.labels, high.labels)))


def test_a_worker_without_images_gets_the_same_labels() -> None:
    assert labels(loader().train(1)).equal(labels(loader(images=False).train(1)))
    assert labels(loader().test()).equal(labels(loader(images=False).test()))
    assert all(batch.images is None for batch in loader(images=False).train(0))


def test_batches_follow_the_epoch_order_and_drop_the_rest() -> None:
    served = list(loader().train(2))
    assert len(served) == loader().steps_per_epoch == 3
    assert labels(served).tolist() == epoch_order(50, seed=0, epoch=2)[:48].tolist()


def test_pixels_change_with_seed_epoch_and_step_only() -> None:
    first = next(loader().train(0)).images
    assert first.equal(next(loader().train(0)).images)
    assert not first.equal(next(loader().train(1)).images)
    assert not first.equal(next(loader(seed=1).train(0)).images)


def test_augmentation_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(7)
    untouched = torch.rand(3)
    torch.manual_seed(7)
    list(loader().train(0))
    assert torch.rand(3).equal(untouched)


def test_pixels_are_normalised_per_channel() -> None:
    batch = next(loader(augment=UNCHANGED).train(0))
    stored = TRAIN.images[batch.labels].float() / 255
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.6, 0.7])
    torch.testing.assert_close(batch.images, (stored - mean.view(3, 1, 1)) / std.view(3, 1, 1))
    assert batch.images.dtype == torch.float32
    assert batch.labels.dtype == torch.int64


def test_the_hole_has_the_mean_colour() -> None:
    images = pixels(loader(augment=Augment(pad=0, flip=False, cutout=3)).train(0))
    zero = (images == 0).all(dim=1).sum(dim=(1, 2))
    assert zero.min() >= 4, "a hole of side 3 keeps 4 pixels in a corner"
    assert zero.max() <= 9


@pytest.mark.parametrize("augment", [UNCHANGED, AUGMENT])
def test_layout_changes_no_pixel(augment: Augment) -> None:
    last = next(loader(augment=augment, channels_last=True).train(0)).images
    assert last.is_contiguous(memory_format=torch.channels_last)
    first = next(loader(augment=augment).train(0)).images
    assert first.is_contiguous()
    assert last.equal(first)


def test_the_whole_test_set_in_order_and_unchanged() -> None:
    served = list(loader().test())
    assert [len(batch.labels) for batch in served] == [1000, 1000, 300]
    assert labels(served).equal(TEST.labels)
    assert pixels(served).equal(pixels(loader(augment=UNCHANGED).test()))


def test_indices_say_where_the_samples_stand() -> None:
    for batch in loader(shard=slice(3, 7)).train(2):
        assert batch.indices.equal(batch.labels)
    assert torch.cat([batch.indices for batch in loader().test()]).tolist() == list(range(2300))
