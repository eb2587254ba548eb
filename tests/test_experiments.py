"""The study's experiments: each quick one ends in the table and the figures that the full one is made for."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import DictConfig
from tiny import launched

from layerpar import cli
from layerpar.paths import RunDirectory, config_directory
from layerpar.run import Outcome
from layerpar.session import Session

AGGREGATIONS = {"replace", "damped", "momentum", "average", "trust_region", "anderson", "ema"}
FIGURES = {
    "speedup_vs_depth": {"speedup_vs_depth", "speedup_vs_parameters"},
    "speedup_vs_depth_resnet": {"speedup_vs_depth", "speedup_vs_parameters"},
    "speedup_vs_width": {"speedup_vs_parameters"},
    "strong_scaling": {"speedup_vs_workers", "efficiency_vs_workers", "memory_vs_workers"},
    "weak_scaling": {
        "scaled_speedup_vs_workers",
        "scaled_efficiency_vs_workers",
        "communication_vs_workers",
    },
    "modes": {"comparison", "accuracy_vs_time", "accuracy_vs_epoch", "where_the_time_goes"},
    "blocks": {"accuracy_vs_blocks", "accuracy_vs_epoch", "block_loss"},
    "blocks_cifar10": {"accuracy_vs_blocks", "accuracy_vs_time", "time_to_target"},
    "aggregations": {"accuracy_vs_time", "accuracy_vs_epoch"},
    "accuracy_vs_time": {"accuracy_vs_time", "accuracy_vs_epoch", "time_to_target"},
    "accuracy_vs_time_mnist": {"accuracy_vs_time", "accuracy_vs_epoch", "time_to_target"},
}
"""Each experiment, and the figures it is made for."""
BETWEEN_HOSTS = {"slow_link"}
"""Those that `tests/launchers/test_hosts.py` tries."""


@pytest.fixture(autouse=True)
def _quick_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layerpar.launchers.local.LocalLauncher.launch", launched)


def compare(directory: Path, *overrides: str) -> pd.DataFrame:
    """The lines that `layerpar compare OVERRIDES` ends in."""
    assert cli.run(["compare", f"hydra.sweep.dir={directory}", *overrides], started=time.time()) == 0
    return pd.read_csv(directory / "results.csv")


def stems(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.png")}


def test_every_experiment_has_a_quick_size() -> None:
    folder = config_directory() / "experiment"
    assert {path.stem for path in (folder / "quick").glob("*.yaml")} == set(FIGURES) | BETWEEN_HOSTS
    assert set(FIGURES) | BETWEEN_HOSTS <= {path.stem for path in folder.glob("*.yaml")}


@pytest.mark.parametrize("experiment", FIGURES)
def test_a_quick_experiment_ends_in_one_table_and_its_figures(experiment: str, tmp_path: Path) -> None:
    lines = compare(tmp_path, f"experiment=quick/{experiment}", "device=cpu")
    assert set(lines["statuses"]) == {"1 done"}
    assert lines["speed_up"].notna().all(), "every line has its serial run"
    assert FIGURES[experiment] <= stems(tmp_path / "figures")
    if experiment.startswith("speedup_vs_depth"):
        for _, group in lines.groupby("depth"):
            assert {"serial", "layerwise local", "layerwise delayed"} <= set(group["label"])
        assert lines["depth"].nunique() == 2
    if experiment == "speedup_vs_width":
        assert lines["width"].nunique() == 2
    if experiment.endswith("_scaling"):
        data = lines[lines["label"] == "data"]
        assert list(data["workers"]) == [1, 2]
        assert len(lines[lines["label"] == "serial"]) == 1, "once for all numbers of workers"
        assert list(data["scaled"]) == [False, experiment == "weak_scaling"]
        assert list(data["batch_size"]) == ([16, 32] if experiment == "weak_scaling" else [32, 32])
    if experiment == "aggregations":
        for label in ("layerwise frozen", "layerwise local", "data"):
            assert set(lines[lines["label"] == label]["aggregation"]) == AGGREGATIONS
    if experiment == "blocks":
        counts = (2, 3, 5, 7, 9)
        local, delayed = (lines[lines["label"] == f"layerwise {kind}"] for kind in ("local", "delayed"))
        assert set(local["settings"]) == {f"blocks={count}" for count in counts}
        assert sorted(delayed["num_blocks"]) == sorted(2 * counts)
        assert delayed["settings"].str.contains("microbatches=8").sum() == len(counts)


def test_a_comparison_goes_on_where_it_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("experiment=quick/accuracy_vs_time_mnist", "device=cpu")
    compare(tmp_path, *asked)
    first, second, _ = sorted(path.parent for path in tmp_path.rglob("summary.json"))
    before = (first / "summary.json").read_text()
    (second / "summary.json").unlink()
    (second / "status.json").write_text('{"status": "interrupted"}')
    capsys.readouterr()
    lines = compare(tmp_path, *asked)
    assert capsys.readouterr().out.count("done before") == 2
    assert set(lines["statuses"]) == {"1 done"}
    assert (first / "summary.json").read_text() == before


def test_the_order_of_a_comparison_rotates_from_seed_to_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def note(session: Session, composed: DictConfig, root: Path, *, label: str, **options: object) -> Outcome:
        ran.append(f"{composed.seed} {label.split('/')[-1]}")
        session.outcomes.append(Outcome(RunDirectory(root), "done", None))
        return session.outcomes[-1]

    monkeypatch.setattr(Session, "run", note)
    asked = ["experiment=quick/accuracy_vs_time_mnist", "variants.layerwise_delayed=null", "device=cpu"]
    given = [*asked, "seed=0,1,2", f"hydra.sweep.dir={tmp_path}"]
    assert cli.run(["compare", *given], started=0.0) == 0
    serial, local = "serial", "layerwise_local"
    orders = [(0, serial, local), (1, local, serial), (2, serial, local)]
    assert ran == [f"{seed} {variant}" for seed, *variants in orders for variant in variants]


def test_runs_have_the_environment_and_the_working_directory_of_their_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str | None, Path]] = []

    def note(session: Session, composed: DictConfig, root: Path, *, label: str, **options: object) -> Outcome:
        seen.append((os.environ.get("OF_THE_JOB"), Path.cwd()))
        session.outcomes.append(Outcome(RunDirectory(root), "done", None))
        return session.outcomes[-1]

    monkeypatch.setattr(Session, "run", note)
    before, root = Path.cwd(), tmp_path / "job"
    given = ["+hydra.job.env_set.OF_THE_JOB=here", "hydra.job.chdir=true", f"hydra.run.dir={root}"]
    assert cli.run(["compare", *given], started=0.0) == 0
    assert seen
    assert set(seen) == {("here", root)}
    assert (os.environ.get("OF_THE_JOB"), Path.cwd()) == (None, before)


def test_nothing_starts_where_the_last_job_is_wrong(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    wrong = ("experiment=quick/speedup_vs_depth_resnet", "architecture.depth=8,9")
    assert cli.run(["compare", f"hydra.sweep.dir={tmp_path}", *wrong], started=0.0) == 2
    assert "try architecture.depth=8" in capfd.readouterr().err
    assert not list(tmp_path.rglob("run.yaml"))


def test_an_experiment_that_compares_is_not_trained(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    asked = ["train", f"hydra.sweep.dir={tmp_path}", "experiment=quick/modes"]
    assert cli.run(asked, started=0.0) == 2
    assert "try layerpar compare" in "".join(capfd.readouterr())


def test_a_comparison_finds_options_of_the_users_own(tmp_path: Path) -> None:
    folder = tmp_path / "conf" / "architecture"
    folder.mkdir(parents=True)
    (folder / "tiny.yaml").write_text(
        "_target_: layerpar.architectures.mlp.MLP\n"
        "name: tiny\ndepth: 2\nwidth: 8\nnorm: none\nresidual: false\n"
    )
    asked = [f"hydra.searchpath=[file://{tmp_path / 'conf'}]", "architecture=tiny", "dataset.train_limit=64"]
    ways = ["~variants.serial_all_cores", "~variants.data", "~variants.pipeline", "~variants.sequential"]
    root = tmp_path / "compared"
    given = [*asked, *ways, "epochs=1", "batch_size=32", "device=cpu", f"hydra.run.dir={root}"]
    assert cli.run(["compare", *given], started=time.time()) == 0
    assert set(pd.read_csv(root / "results.csv")["architecture"]) == {"tiny"}


PARALLEL = "_target_: hydra._internal.core_plugins.basic_launcher.BasicLauncher\n"
"""Stands for a launcher of Hydra's that runs jobs side by side."""


@pytest.fixture
def parallel_launcher(tmp_path: Path) -> list[str]:
    folder = tmp_path / "conf" / "hydra" / "launcher"
    folder.mkdir(parents=True)
    (folder / "parallel.yaml").write_text(PARALLEL)
    return [f"hydra.searchpath=[file://{tmp_path / 'conf'}]", "hydra/launcher=parallel"]


def test_seconds_of_runs_side_by_side_are_marked(
    tmp_path: Path, parallel_launcher: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    sweep = tmp_path / "sweep"
    small = ["dataset.train_limit=64", "batch_size=32", "architecture.width=8", "epochs=1", "device=cpu"]
    asked = ["train", "-m", "seed=0,1", "mode=serial", *small, *parallel_launcher, f"hydra.sweep.dir={sweep}"]
    assert cli.run(asked, started=time.time()) == 0
    assert capfd.readouterr().err.count("marked contended") == 1
    assert pd.read_csv(sweep / "results.csv")["contended"].all()


def test_a_comparison_refuses_runs_side_by_side(
    tmp_path: Path, parallel_launcher: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert (
        cli.run(["compare", *parallel_launcher, f"hydra.run.dir={tmp_path / 'run'}", "-m"], started=0.0) == 2
    )
    assert "leave out hydra/launcher=parallel" in capfd.readouterr().err
