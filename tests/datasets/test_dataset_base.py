"""Sample order follows from seed and epoch, and from nothing else."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny import composed

from layerpar.datasets.base import default_root, epoch_order, limited
from layerpar.seeds import stream


@given(num_samples=st.integers(0, 500), seed=st.integers(0, 2**40), epoch=st.integers(0, 1000))
def test_an_epoch_visits_every_sample_once_in_an_order_that_can_be_repeated(
    num_samples: int, seed: int, epoch: int
) -> None:
    order = epoch_order(num_samples, seed=seed, epoch=epoch)
    assert order.sort().values.tolist() == list(range(num_samples))
    assert order.equal(epoch_order(num_samples, seed=seed, epoch=epoch))


def test_seeds_and_epochs_each_change_the_order() -> None:
    orders = {
        tuple(epoch_order(50, seed=seed, epoch=epoch).tolist())
        for seed in (0, 1, 2, 2**32, 2**33)
        for epoch in range(4)
    }
    assert len(orders) == 20


def test_order_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(3)
    untouched = torch.rand(4)
    torch.manual_seed(3)
    epoch_order(10, seed=1, epoch=1)
    assert torch.rand(4).equal(untouched)


def test_a_key_is_more_than_the_sum_of_its_numbers() -> None:
    assert not torch.rand(8, generator=stream(1, 23)).equal(torch.rand(8, generator=stream(12, 3)))
    assert not torch.rand(8, generator=stream(1, 2)).equal(torch.rand(8, generator=stream(2, 1)))


@pytest.mark.parametrize(("limit", "left"), [(None, 10), (3, 3), (10, 10), (99, 10)])
def test_a_limit_never_adds_samples(limit: int | None, left: int) -> None:
    assert limited(10, limit) == left


def test_data_lies_below_the_environment_variable_else_in_data(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LAYERPAR_DATA", str(tmp_path))
    assert default_root("mnist") == tmp_path / "mnist"
    monkeypatch.setenv("LAYERPAR_DATA", "")
    assert default_root("mnist") == Path("data/mnist"), "empty is as unset"
    monkeypatch.delenv("LAYERPAR_DATA")
    assert default_root("mnist").as_posix() == "data/mnist"


@pytest.mark.parametrize("name", ["digits", "synthetic", "mnist", "cifar10"])
def test_blank_batches_are_made_as_those_of_training_without_any_files(name: str) -> None:
    config = composed(f"dataset={name}")
    batches = config.dataset.blank_batches(8, device=torch.device("cpu"), channels_last=False)
    shapes = {
        "digits": (1, 8, 8),
        "synthetic": config.dataset.info().input_shape if name == "synthetic" else (),
    }
    shapes |= {"mnist": (1, 28, 28), "cifar10": (3, 32, 32)}
    assert len(batches) == 2
    for batch in batches:
        assert batch.images is not None
        assert batch.images.shape == (8, *shapes[name])
        assert len(batch.images.unique()) <= batch.images.shape[1], "black in every channel"


def test_samples_that_do_not_lie_in_memory_have_no_blank_batches() -> None:
    dataset = composed("dataset=image_folder", "dataset.root=x").dataset
    assert dataset.blank_batches(8, device=torch.device("cpu"), channels_last=False) == []
