"""Getting a published set: unpack the archive that is there, else let torchvision download it."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from layerpar.datasets.source import Source, reading
from layerpar.errors import UserError, require

ANSWER_SECONDS = 1.5
"""How long a site may take to answer at all before there is said to be no network."""

SILENCE_SECONDS = 20.0
"""How long a download may stand still."""


def obtain(source: Source, root: Path, missing: Path) -> None:
    """Bring the source's files below `root`, whole or not at all; shows the progress of a download.

    Args:
        source: Whose files.
        root: The folder where they should be.
        missing: The file that was looked for and not found.

    Raises:
        UserError: there is no network, or the download fails; names the file, where to put it and the key.
    """
    archive = source.archive(root, missing)
    if archive.is_file():
        unpack(archive, source.folder, root)
        return
    url = f"{source.site}{archive.name}"
    by_hand = f"put {url} into {archive.parent}, or try dataset.root=FOLDER"
    host = urlsplit(url).hostname
    require(answers(source.site), f"{missing} is missing and {host} does not answer; {by_hand}")
    try:
        download(source, root)
    except UserError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{missing} is missing and its download failed ({reason}); {by_hand}") from error


def download(source: Source, root: Path) -> None:
    """Let torchvision's class download its files, check and unpack them."""
    import torchvision.datasets

    reader = getattr(torchvision.datasets, source.torchvision_class)
    with _arriving(source.folder, root) as scratch, _silence_ends():
        reader(scratch, download=True)


def unpack(archive: Path, folder: str, root: Path) -> None:
    """Put the files in `folder` of the archive below `root`.

    Raises:
        UserError: it is no archive, or is cut short.
    """
    with reading(archive), _arriving(folder, root) as scratch:
        shutil.unpack_archive(archive, scratch, filter="data")


def answers(url: str) -> bool:
    """Whether the site answers, with whatever, in time. Looking up a name has no time limit of its own."""
    heard = []

    def ask() -> None:
        with suppress(OSError, HTTPException):
            try:
                urlopen(Request(url, method="HEAD"), timeout=ANSWER_SECONDS).close()
            except HTTPError as refusal:
                refusal.close()
            heard.append(True)

    asking = Thread(target=ask, daemon=True)
    asking.start()
    asking.join(ANSWER_SECONDS)
    return bool(heard)


@contextmanager
def _arriving(folder: str, root: Path) -> Iterator[Path]:
    """A scratch root below `root`; what lies in its `folder` at the end moves to `root/folder`."""
    try:
        (root / folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {root} ({error.strerror}); try dataset.root=FOLDER") from error
    with TemporaryDirectory(dir=root, prefix=".arriving-") as scratch:
        yield Path(scratch)
        for path in (Path(scratch) / folder).iterdir():
            path.replace(root / folder / path.name)


@contextmanager
def _silence_ends() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
