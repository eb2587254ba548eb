"""The runs of a sweep or comparison: which directory is whose, and how they ended."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

EXIT_CODES = {"done": 0, "failed": 1, "diverged": 1, "refused": 2}


def member_directory(composed: DictConfig, root: Path, *, below: Path) -> Path:
    """Where a member of a sweep runs: where this very run was begun before, else a directory of its own.

    Its number changes with the members beside it, so an earlier one is found by what it is.
    """
    text = OmegaConf.to_yaml(composed, resolve=True)
    for path in sorted(below.rglob("run.yaml")):
        if path.read_text() == text:
            if path.parent != root and root.is_dir() and not any(root.iterdir()):
                root.rmdir()  # Hydra's, for the new number
            return path.parent
    place, number = root, 2
    while _holds_run(place):
        place, number = root.with_name(f"{root.name}-{number}"), number + 1
    return place


def _holds_run(place: Path) -> bool:
    from layerpar.measure.status import read_status
    from layerpar.paths import RunDirectory

    status = RunDirectory(place).status
    return status.exists() and read_status(RunDirectory(place))["status"] != "refused"


def statuses_below(directory: Path) -> list[str]:
    """Of the runs that other processes have run."""
    from layerpar.measure.status import current_status
    from layerpar.paths import RunDirectory

    return [current_status(RunDirectory(path.parent))["status"] for path in directory.rglob("status.json")]
