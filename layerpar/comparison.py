"""`layerpar compare`: plan every run, then run one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from layerpar.compose import choice, compose_and_call, composition, is_sweep, output_directory
from layerpar.errors import UserError, require
from layerpar.measure.writing import naming
from layerpar.members import EXIT_CODES, member_directory
from layerpar.optimized import direction, value
from layerpar.session import Session, carrying_out

if TYPE_CHECKING:
    from layerpar.variants import Planned

ALONE = (
    "compare times one run after the other; leave out hydra/{}={}. "
    "On a cluster: salloc -N2 --exclusive layerpar compare launcher=slurm …"
)


def compare(arguments: list[str], *, started: float) -> int:
    """`layerpar compare`: the same work in every way that `variants` lists. Returns the exit code.

    Hydra's jobs only plan, so that a mistake in the last one is found before the first one starts.
    """
    from layerpar.composer import Composer
    from layerpar.variants import plan

    for argument in arguments:
        key, _, chosen = argument.lstrip("+").partition("=")
        if key.startswith("hydra/"):
            _require_one_at_a_time(key.removeprefix("hydra/"), chosen)
    compose = Composer("train")
    planned: list[Planned] = []
    written: dict[Path, Mapping[str, str]] = {}
    errors: list[UserError] = []
    tune: Any = {}

    def task(composed: DictConfig) -> None:
        tune.update(OmegaConf.to_container(composed.tune) if OmegaConf.is_dict(composed.tune) else {})
        job, root = HydraConfig.get(), output_directory()
        if not is_sweep():
            session.directory, session.key = root, "hydra.run.dir"
            for group in ("launcher", "sweeper"):
                _require_one_at_a_time(group, choice(group))
        places = [override for override in job.overrides.hydra if override.startswith("hydra.searchpath")]
        try:
            prefix = f"{root.name}/" if is_sweep() else ""
            given = [*places, *job.overrides.task]
            planned.extend(plan(composed, given, root, compose=compose, prefix=prefix))
            written[root / ".hydra"] = composition(composed)
        except UserError as error:  # Hydra would announce it in lines of its own
            errors.append(error)

    with carrying_out(Session("compare", arguments, started)) as session:
        compose_and_call("compare", arguments, task)
        if errors:
            session.directory = None
            raise errors[0]
        if tune:
            _require_one_network(planned)
        if session.directory is not None:
            with _locked(session.directory, session.key):
                for folder, files in written.items():
                    folder.mkdir(exist_ok=True)
                    for name, text in files.items():
                        with naming(folder / name):
                            (folder / name).write_text(text)
                session.series.total = len(planned)
                for run in planned:
                    root = member_directory(run.variant.composed, run.root, below=session.directory)
                    with run.surroundings():
                        session.run(run.variant.composed, root, label=run.label, one_of_several=True)
    if tune:
        _choose(session, planned, tune)
    return max((EXIT_CODES[outcome.status] for outcome in session.outcomes), default=0)


def _require_one_network(planned: Sequence[Planned]) -> None:
    """Refuse to choose one setting for several networks: trials are repeated over seeds alone."""
    seeds = {run.variant.composed.seed for run in planned}
    trials = {(run.variant.name, run.variant.settings) for run in planned}
    require(
        len(planned) == len(seeds) * len(trials),
        "tune chooses for one network and data set; sweep nothing but the seed, as in -m seed=1000,1001",
    )


def _choose(session: Session, planned: Sequence[Planned], tune: Mapping[str, Any]) -> None:
    """Choose among the trials of a comparison, if it has any, write it down and say it."""
    from layerpar.tune import Trial, record

    trials = []
    for run, outcome in zip(planned, session.outcomes, strict=True):
        variant, done = run.variant, outcome.status == "done"
        if variant.settings is not None:
            metric = variant.composed.optimized_metric
            score = value(outcome.directory, metric, done=done)
            trials.append(
                Trial(variant.name, variant.own, variant.settings, variant.composed.seed, score, done)
            )
    if trials and session.directory is not None:
        larger = direction(metric) == "maximize"
        words = metric or "validation_accuracy"
        same = tune.get("same") or {}
        try:
            lines = record(session.directory, trials, metric=words, larger=larger, same=same)
        except OSError as error:
            raise UserError(
                f"cannot write what was chosen into {session.directory}: {error.strerror}; "
                f"make room, then: {session.same_again()}"
            ) from error
        for line in lines:
            session.print(line)


def _require_one_at_a_time(group: str, chosen: str) -> None:
    """Refuse another way to run jobs of a comparison than one after the other."""
    require(group not in ("launcher", "sweeper") or chosen == "basic", ALONE.format(group, chosen))


@contextmanager
def _locked(directory: Path, key: str) -> Iterator[None]:
    """Within, no other command compares in this directory.

    Raises:
        UserError: one does, or it is a run's own.
    """
    from layerpar.measure.status import exclusive_lock
    from layerpar.paths import RunDirectory

    own = RunDirectory(directory)
    require(not own.run_yaml.exists(), f"{directory} already holds a run; try {key}=ANOTHER")
    with exclusive_lock(own):
        yield
