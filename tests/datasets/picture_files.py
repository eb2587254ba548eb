"""Small pictures in class folders."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from layerpar.datasets.base import LoaderSpec
from layerpar.datasets.image_folder import ImageFolder

SIZE = 8


def picture(seed: int, *, mode: str = "RGB", width: int = 20, height: int = 14) -> Image.Image:
    """A smooth picture: one colour gradient for each seed."""
    generator = np.random.default_rng(seed)
    corners = generator.integers(0, 256, (2, 2, 3), dtype=np.uint8)
    return Image.fromarray(corners).resize((width, height), Image.Resampling.BILINEAR).convert(mode)


def encoded(image: Image.Image, format: str = "JPEG", **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, format, **options)
    return content.getvalue()


def write_folder(
    root: Path, *, train: int = 8, test: int = 3, classes: tuple[str, ...] = ("b", "a", "c")
) -> Path:
    """So many pictures of each class in `train` and `val`; one of each class is grey."""
    for split, count in (("train", train), ("val", test)):
        for label, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                mode = "L" if number == 1 else "RGB"
                content = encoded(picture(1000 * label + number + count, mode=mode))
                (folder / f"{name}_{number}.JPEG").write_bytes(content)
    return root


def options(root: Path, /, **changes: object) -> dict[str, object]:
    """The values of an `ImageFolder` or an `ImageNet`."""
    return {
        "name": "pictures",
        "train_limit": None,
        "test_limit": None,
        "root": str(root),
        "size": SIZE,
        "resize": 10,
        "decode_workers": 0,
        "prefetch": 2,
        "corrupt": "error",
    } | changes


def image_folder(root: Path, /, **changes: object) -> ImageFolder:
    return ImageFolder(**options(root, **changes))  # type: ignore[arg-type]


def spec(
    batch_size: int = 8,
    *,
    shard: slice | None = None,
    images: bool = True,
    seed: int = 0,
    channels_last: bool = False,
) -> LoaderSpec:
    return LoaderSpec(
        seed=seed,
        batch_size=batch_size,
        shard=slice(0, batch_size) if shard is None else shard,
        images=images,
        device=torch.device("cpu"),
        channels_last=channels_last,
    )
