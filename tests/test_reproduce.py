"""`scripts/reproduce`: pages from quick experiments, and the README's results from their tables."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, stdev
from types import SimpleNamespace

import pandas as pd
import pytest
from omegaconf import DictConfig
from tiny import launched

from layerpar import cli
from layerpar.paths import RunDirectory
from layerpar.results.verdicts import half_width
from layerpar.run import Outcome
from layerpar.session import Session

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
    assert re.search(r"Commit \w+(-dirty)?; \d", page)
    assert "| layerwise delayed |" in page
    pictures = re.findall(r"!\[.*\]\((.*)\)", page)
    assert "mnist/figures/accuracy_vs_time.png" in pictures
    assert all((tmp_path / picture).exists() for picture in pictures)
    assert not list(tmp_path.rglob("model.pt")), "gigabytes that no page shows"
    assert "| layerwise local |" in (tmp_path / "results.md").read_text()
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

    def note(session: Session, composed: DictConfig, root: Path, *, label: str, **options: object) -> Outcome:
        planned.append(label)
        session.outcomes.append(Outcome(RunDirectory(root), "done", None))
        return session.outcomes[-1]

    monkeypatch.setattr(Session, "run", note)
    monkeypatch.setattr("layerpar.app.value", lambda *_, **__: 0.0)
    for part in script.parts.PARTS:
        less = ["architecture.depth=8"] if part.name.startswith("depth") else []
        less += ["dataset=synthetic"] if part.real_data else []
        commands = part.commands(tmp_path / part.name, quick=False, verify_checksums=True)
        assert all((f"checkpoint_every={int(part.long)}") in arguments for arguments in commands)
        planned.clear()
        for arguments in commands:
            here = [argument for argument in arguments if "launcher" not in argument]  # in this process
            assert cli.run([*here, "seed=0", *less], started=0.0) == 0
        expected = {
            "depth_mlp": 12,
            "depth_resnet": 12,
            "mnist": 3,
            "aggregations": 20,
            "blocks": 13,
            "cifar10": 7,
            "cifar10_long": 5,
        }
        assert len(planned) == expected[part.name]


def group(label: str, seconds: list[float], accuracies: list[float], **changes: object) -> dict[str, object]:
    """A row of `layerpar.results.groups.summarise`: a run for each of these seconds."""
    measures = {
        "train_seconds": seconds,
        "speed_up": [10 / value for value in seconds],
        "test_accuracy": accuracies,
        "accuracy_difference": [value - 0.98 for value in accuracies],
        "time_to_target_seconds": [value / 2 for value in seconds],
    }
    row: dict[str, object] = {
        "dataset": "mnist",
        "hardware": "Abacus, 2 cores",
        "depth": 4,
        "epochs": 3,
        "precision": "fp32",
        "label": label,
        "mode": label.split()[0],
        "num_runs": 3,
        "num_done": 3,
        "num_seeds": 3,
        "num_reached": 3,
        "num_blocks": 2,
        "settings": "",
        "contended": False,
        "speed_up_contended": False,
        "is_unit": label == "serial",
        "by_seed": {
            seed: dict(zip(measures, values, strict=True))
            for seed, values in enumerate(zip(*measures.values(), strict=True))
        },
    }
    for measure, values in measures.items():
        row |= {
            measure: fmean(values),
            f"{measure}_ci95": half_width(stdev(values), 3),
            f"{measure}_count": 3,
        }
    return row | changes


SERIAL = group("serial", [10.0, 10.0, 10.0], [0.98, 0.98, 0.98])


def test_the_readme_gets_tables_with_spread_and_says_where_layerwise_loses(script: SimpleNamespace) -> None:
    """Local is a third slower than data on every seed; delayed is slower on average, but on one seed only."""
    depths = [
        SERIAL,
        group("data", [6.0, 6.1, 6.2], [0.98, 0.98, 0.98]),
        group("layerwise local", [8.0, 8.1, 8.2], [0.98, 0.98, 0.98]),
        group("layerwise delayed", [5.8, 6.0, 8.0], [0.98, 0.98, 0.98]),
    ]
    mnist = [
        SERIAL,
        group("layerwise local", [8.0, 8.0, 8.0], [0.970, 0.971, 0.969]),
        group("layerwise delayed", [8.0, 8.0, 8.0], [0.97, 0.99, 0.96], num_reached=2),
    ]
    measured = script.readme.Measured
    deep = measured(pd.DataFrame(depths), "abc")
    parts = {"depth_mlp": deep, "depth_resnet": deep, "mnist": measured(pd.DataFrame(mnist), "def")}
    made = script.readme.sections(parts)
    assert set(made) == {"depth", "mnist"}, "what was not measured has nothing to say"
    text = made["depth"]
    assert "mean ± 95 % interval over 3 seeds, Abacus, 2 cores, commit abc:" in text
    assert "| MLP, depth 4 | 10.00 ± 0.00 | 1.64 ± 0.07 | 1.23 ± 0.04 |" in text
    assert "MLP, depth 4: layerwise local (1.23) is slower than data (1.64)" in text
    assert "layerwise delayed (1.55) is slower" not in text
    text = made["mnist"]
    assert "Accuracy on MNIST, 3 epochs, mean" in text
    assert "commit def:" in text
    assert "| serial | 98.00 ± 0.00 |  | 1.00 ± 0.00 | 5.00 ± 0.00 |" in text
    assert "| layerwise local | 97.00 ± 0.25 | -1.00 ± 0.25 | 1.25 ± 0.00 | 4.00 ± 0.00 |" in text
    assert "Less accurate than serial: layerwise local by 1.00 points." in text
    assert "| layerwise delayed | 97.33" in text


def test_the_readme_is_renewed_between_its_marks(script: SimpleNamespace, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    assert script.main.main(["--quick", "--only", "mnist", "--output", str(outputs)]) == 0
    (tmp_path / "figures").mkdir()
    readme = tmp_path / "README.md"
    begin, end = script.readme.marks("mnist")
    other_begin, other_end = script.readme.marks("blocks")
    readme.write_text(f"before\n{begin}old\n{end}between\n{other_begin}not measured here\n{other_end}after\n")
    script.readme.fill(tmp_path, outputs)
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith(f"between\n{other_begin}not measured here\n{other_end}after\n")
    assert "old" not in text
    assert "| layerwise local |" in text
    assert (tmp_path / "figures" / "mnist_accuracy_vs_time.png").exists()
    script.readme.fill(tmp_path, outputs)
    assert readme.read_text() == text


def test_seconds_of_contended_runs_are_not_shown(script: SimpleNamespace) -> None:
    rows = [
        SERIAL | {"contended": True, "precision": "bf16"},
        group("layerwise delayed", [8.0, 9.0, 9.0], [0.97, 0.98, 0.99], contended=True, precision="bf16"),
    ]
    parts = {"cifar10_long": script.readme.Measured(pd.DataFrame(rows), "abc")}
    text = script.readme.sections(parts)["cifar10_long"]
    assert "50,000 images, 3 epochs in bf16, mean" in text
    assert "commit abc, trained side by side (so without seconds):" in text
    assert "| mode | test accuracy % | points to serial |\n" in text
    assert "| layerwise delayed | 98.00 ± 2.48 | +0.00 ± 2.48 |\n" in text


def test_a_rule_that_one_way_does_not_have_gets_a_dash(script: SimpleNamespace) -> None:
    def even(label: str, aggregation: str, accuracy: float) -> dict[str, object]:
        return group(label, [9.0, 9.0, 9.0], [accuracy] * 3, aggregation=aggregation)

    rows = [
        SERIAL,
        even("layerwise frozen", "replace", 0.97),
        even("layerwise local", "replace", 0.96),
        even("data", "replace", 0.98),
        even("data", "average", 0.97),
    ]
    parts = {"aggregations": script.readme.Measured(pd.DataFrame(rows), "abc")}
    text = script.readme.sections(parts)["aggregations"]
    assert "| replace | 97.00 ± 0.00 | 96.00 ± 0.00 | 98.00 ± 0.00 | 1.11 ± 0.00 |" in text
    assert "| average | - | - | 97.00 ± 0.00 | - |" in text


def test_the_readme_has_a_place_for_every_section(script: SimpleNamespace) -> None:
    text = (SCRIPTS.parents[1] / "README.md").read_text()
    for name in script.readme.SECTIONS:
        begin, end = script.readme.marks(name)
        assert 0 < text.find(begin) < text.find(end), name


def test_every_part_has_a_section(script: SimpleNamespace) -> None:
    needed = [part for parts, _ in script.readme.SECTIONS.values() for part in parts]
    assert sorted(needed) == sorted(part.name for part in script.parts.PARTS)


def test_runs_of_another_machine_are_never_added_to(script: SimpleNamespace, tmp_path: Path) -> None:
    part = next(part for part in script.parts.PARTS if part.name == "mnist")
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "env.json").write_text('{"cpu": "Abacus"}')
    outcome = script.main.carry_out(part, tmp_path, [["compare", "never=carried out"]])
    assert outcome.left_out == f"{tmp_path} holds runs of another machine (Abacus); give another --output"
    assert not (tmp_path / "commits").exists(), "a commit that measured nothing is not noted"


def test_a_commit_is_noted_where_runs_ended_well(script: SimpleNamespace, tmp_path: Path) -> None:
    with script.pages.noting_commit(tmp_path):
        (tmp_path / "0").mkdir()
        (tmp_path / "0" / "summary.json").write_text('{"status": "failed"}')
    assert script.pages.commits(tmp_path) == "unknown"
    with script.pages.noting_commit(tmp_path):
        (tmp_path / "0" / "summary.json").write_text('{"status": "done"}')
    assert script.pages.commits(tmp_path) == script.pages._commit()
    (tmp_path / "commits").write_text("abc")
    with script.pages.noting_commit(tmp_path):
        pass
    assert script.pages.commits(tmp_path) == "abc", "all was done before"


def test_contended_seconds_are_not_quoted(script: SimpleNamespace) -> None:
    rows = [
        group("serial", [10.0, 10.0, 10.0], [0.98, 0.98, 0.98], contended=True, speed_up_contended=True),
        group("data", [8.0, 8.0, 8.0], [0.98, 0.98, 0.98], speed_up_contended=True),
    ]
    measured = script.readme.Measured(pd.DataFrame(rows), "abc")
    parts = {"depth_mlp": measured, "depth_resnet": measured}
    text = script.readme.sections(parts)["depth"]
    assert "| MLP, depth 4 | contended | contended |" in text
