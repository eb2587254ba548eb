"""Files that are whole whenever somebody looks: written beside, synced to the disk, then renamed."""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, cast

FULL = (errno.ENOSPC, errno.EDQUOT)
"""What the system says where nothing more can be written."""


@contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to, which becomes `path` once the block has ended well; else nothing has happened.

    Raises:
        OSError: it cannot be written; names `path`.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an error of the system name `path` where it names nothing: a write to a full disk does not."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def sync_directory(folder: Path) -> None:
    """Let a rename in this folder outlive a loss of power."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def write_text(path: Path, content: str) -> None:
    """Write text, whole or not at all.

    Raises:
        OSError: it cannot be written; names `path`.
    """
    with whole(path) as file:
        file.write(content.encode())


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write strict JSON, whole or not at all.

    Raises:
        OSError: it cannot be written; names `path`.
    """
    with whole(path) as file:
        file.write(_json(content))


def overwrite_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write strict JSON, on a full disk into the blocks that the file already has."""
    try:
        write_json(path, content)
    except OSError as error:
        if error.errno not in FULL or not path.exists():
            raise
        with naming(path), path.open("r+b") as file:
            file.write(_json(content))
            file.truncate()


def write_tensors(path: Path, content: Any) -> str:
    """`torch.save`, whole or not at all; returns the file's SHA-256.

    Raises:
        OSError: it cannot be written; names `path`.
    """
    import torch

    with whole(path) as file:
        target = _Digest(file)
        torch.save(content, cast(IO[bytes], target))
        if target.error is not None:
            raise target.error
    return target.digest.hexdigest()


def checksum(path: Path) -> str:
    """SHA-256 of a file."""
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def strict(value: Any) -> Any:
    """`value` for strict JSON: numbers that are not finite become null, paths text."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {key: strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [strict(item) for item in value]
    return value


def _json(content: Mapping[str, Any]) -> bytes:
    return (json.dumps(strict(content), indent=2, allow_nan=False) + "\n").encode()


class _Digest:
    """What `torch.save` writes to; it keeps the first error, since torch would tell no cause of it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.digest = sha256()
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        if self.error is None:
            try:
                self._file.write(data)
                self.digest.update(data)
            except OSError as error:
                self.error = error
        return len(data)

    def flush(self) -> None:
        pass
