"""What does not fit is refused in one line, and the override it names repairs it."""

import pytest
from families import configured, repair

from layerpar.errors import UserError

WRONG_VALUES = [
    ("cnn", "architecture.stages=9"),
    ("cnn", "architecture.stages=0"),
    ("cnn", "architecture.depth=2"),
    ("cnn", "architecture.norm=group"),
    ("cnn", "architecture.width=0"),
    ("resnet", "architecture.depth=21"),
    ("resnet", "architecture.depth=2"),
    ("resnet18", "architecture.depth=20"),
    ("resnet18", "architecture.depth=500"),
    ("resnet34", "architecture.width=128"),
    ("vgg", "architecture.depth=12"),
    ("vgg", "architecture.norm=layer"),
    ("vgg", "architecture.dropout=1"),
    ("rnn", "architecture.cell=elman"),
    ("rnn", "architecture.depth=0"),
    ("vit", "architecture.num_heads=6"),
    ("vit", "architecture.num_heads=0"),
    ("vit", "architecture.patch_size=0"),
    ("mlp", "architecture.norm=group"),
]


@pytest.mark.parametrize(("name", "wrong"), WRONG_VALUES)
def test_a_wrong_value_is_refused_and_the_named_override_repairs_it(name, wrong):
    with pytest.raises(UserError) as refused:
        configured(f"architecture={name}", wrong)
    configured(f"architecture={name}", wrong, repair(refused.value))


@pytest.mark.parametrize(
    ("overrides", "shape"),
    [
        (("architecture=cnn", "architecture.stages=5"), (1, 8, 8)),
        (("architecture=cnn", "architecture.stages=4"), (1, 28, 4)),
        (("architecture=vgg",), (1, 28, 28)),
        (("architecture=vit", "architecture.patch_size=16"), (1, 8, 8)),
        (("architecture=vit", "architecture.patch_size=5"), (1, 28, 28)),
        (("architecture=vit", "architecture.patch_size=8"), (1, 32, 28)),
    ],
)
def test_images_that_do_not_fit_are_refused_and_the_named_override_repairs_it(overrides, shape):
    with pytest.raises(UserError) as refused:
        configured(*overrides).build(shape, 10)
    configured(*overrides, repair(refused.value)).build(shape, 10)
