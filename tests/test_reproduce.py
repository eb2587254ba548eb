"""`scripts/reproduce`: pages from quick experiments, and the README's results from their tables."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from omegaconf import DictConfig
from tiny import launched

from layerpar import cli
from layerpar.paths import RunDirectory
from layerpar.run import Outcome

SCRIPTS = Path(__file__).parents[1] / "scripts" / "reproduction"
MODULES = ("main", "pages", "parts", "readme")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """The script's modules, with workers that start in an instant."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    monkeypatch.setattr("layerpar.launchers.local.LocalLauncher.launch", launched)
    yield SimpleNamespace(**{name: __import__(name) for name in MODULES})
    for name in MODULES:
        sys.modules.pop(name)


def test_quick_pages_have_machine_commands_tables_and_figures(
    script: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--quick", "--only", "mnist", "--output", str(tmp_path)]
    assert script.main.main(asked) == 0
    page = (tmp_path / "index.md").read_text()
    assert re.search(r"\d+ cores, \d+ GiB", page)
    assert "torch " in page
    assert "layerpar compare experiment=quick/accuracy_vs_time_mnist" in page
    assert "| layerwise delayed |" in page
    pictures = re.findall(r"!\[.*\]\((.*)\)", page)
    assert "mnist/figures/accuracy_vs_time.png" in pictures
    assert all((tmp_path / picture).exists() for picture in pictures)
    assert not list(tmp_path.rglob("model.pt")), "gigabytes that no page shows"
    assert "| MNIST | layerwise local |" in (tmp_path / "results.md").read_text()
    capsys.readouterr()
    assert script.main.main(asked) == 0
    assert capsys.readouterr().out.count("done before") == 3


def test_what_cannot_be_run_is_left_out_saying_why(script: SimpleNamespace, tmp_path: Path) -> None:
    part = script.parts.Part("broken", "Broken", "quick/modes", sweeps=(("epochs=0",),))
    folder = tmp_path / "broken"
    commands = part.commands(folder, quick=False, verify_checksums=True)
    outcome = script.main.carry_out(part, folder, commands)
    assert "epochs=0" in outcome.left_out
    assert f"Left out: {outcome.left_out}" in script.pages.index(tmp_path, [outcome])


def test_the_full_commands_are_sound(
    script: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All is composed and checked as before a run, on one seed and depth, with made-up for published data."""
    planned: list[str] = []

    def note(composed: DictConfig, root: Path, *_: object, label: str, started: float) -> Outcome:
        planned.append(label)
        return Outcome(RunDirectory(root), "done", None)

    monkeypatch.setattr("layerpar.app._attempt", note)
    for part in script.parts.PARTS:
        less = ["architecture.depth=8"] if part.name.startswith("depth") else []
        less += ["dataset=synthetic"] if part.real_data else []
        commands = part.commands(tmp_path / part.name, quick=False, verify_checksums=True)
        planned.clear()
        for arguments in commands:
            assert cli.run([*arguments, "seed=0", *less], started=0.0) == 0
        expected = {
            "depth_mlp": 12,
            "depth_resnet": 12,
            "mnist": 3,
            "cifar10": 4,
            "aggregations": 20,
            "blocks": 9,
        }
        assert len(planned) == expected[part.name]


def line(label: str, speed_up: float, accuracy: float, **changes: object) -> dict[str, object]:
    """A line of `results.csv`."""
    return {
        "dataset": "mnist",
        "hardware": "Abacus, 2 cores",
        "depth": 4,
        "label": label,
        "mode": label.split()[0],
        "num_runs": 3,
        "num_done": 3,
        "num_reached": 3,
        "train_seconds": 10 / speed_up,
        "train_seconds_std": 0.1,
        "speed_up": speed_up,
        "speed_up_std": 0.02,
        "test_accuracy": accuracy,
        "test_accuracy_std": 0.001,
        "time_to_target_seconds": 5.0,
        "time_to_target_seconds_std": 0.5,
        **changes,
    }


def write(outputs: Path, part: str, lines: list[dict[str, object]]) -> None:
    (outputs / part / "figures").mkdir(parents=True)
    (outputs / part / "figures" / "accuracy_vs_time.png").write_bytes(part.encode())
    pd.DataFrame(lines).to_csv(outputs / part / "results.csv", index=False)


def test_the_readme_gets_tables_with_spread_and_says_where_layerwise_loses(
    script: SimpleNamespace, tmp_path: Path
) -> None:
    outputs = tmp_path / "outputs"
    serial = line("serial", 1.0, 0.98)
    write(
        outputs,
        "depth_mlp",
        [
            serial,
            line("data", 1.6, 0.98),
            line("layerwise local", 1.5, 0.98),
            line("layerwise delayed", 1.8, 0.98),
        ],
    )
    write(
        outputs,
        "mnist",
        [serial, line("layerwise local", 1.5, 0.97), line("layerwise delayed", 1.8, 0.978, num_reached=2)],
    )
    (tmp_path / "figures").mkdir()
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{script.readme.BEGIN}old\n{script.readme.END}after\n")
    script.readme.fill(tmp_path, outputs)
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "mean ± deviation over 3 seeds, Abacus, 2 cores" in text
    assert "| MLP, depth 4 | 10.00 ± 0.10 | 1.60 ± 0.02 | 1.50 ± 0.02 | 1.80 ± 0.02 |" in text
    assert "- MLP, depth 4: layerwise local (1.50) is slower than data (1.60)" in text
    assert "layerwise delayed (1.80) is slower" not in text
    assert "| MNIST | layerwise delayed | 97.80 ± 0.10 | -0.20 | 1.80 ± 0.02 | ∞ |" in text
    assert "- MNIST: layerwise local by 1.00 points" in text
    assert "layerwise delayed by" not in text
    assert "Not measured here: Speed-up against depth, residual CNN, Accuracy on CIFAR-10" in text
    assert (tmp_path / "figures" / "mnist_accuracy_vs_time.png").read_bytes() == b"mnist"
    script.readme.fill(tmp_path, outputs)
    assert readme.read_text() == text


def test_a_rule_that_one_way_does_not_have_gets_a_dash(script: SimpleNamespace, tmp_path: Path) -> None:
    lines = [
        line("serial", 1.0, 0.98),
        line("layerwise frozen", 1.1, 0.97, aggregation="replace"),
        line("layerwise local", 1.5, 0.96, aggregation="replace"),
        line("data", 1.6, 0.98, aggregation="replace"),
        line("data", 1.7, 0.97, aggregation="average"),
    ]
    write(tmp_path, "aggregations", lines)
    text = script.readme.results(tmp_path, figures="figures")
    assert "| replace | 97.00 ± 0.10 | 96.00 ± 0.10 | 98.00 ± 0.10 | 1.10 ± 0.02 |" in text
    assert "| average | - | - | 97.00 ± 0.10 | - |" in text


def test_the_readme_has_a_place_for_results(script: SimpleNamespace) -> None:
    text = (SCRIPTS.parents[1] / "README.md").read_text()
    assert 0 < text.find(script.readme.BEGIN) < text.find(script.readme.END)
