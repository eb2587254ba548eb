"""The README's results: tables and verdicts made from the runs of every part, never typed by hand."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from pages import commits
from parts import PARTS

from layerpar.results.groups import summarise
from layerpar.results.load import load
from layerpar.results.verdicts import Difference, compare

DEPTHS = {"depth_mlp": "MLP", "depth_resnet": "residual CNN"}
ACCURACIES = {
    "mnist": "MNIST",
    "cifar10": "CIFAR-10, 20,000 images",
    "cifar10_long": "CIFAR-10, all 50,000 images",
}


def fill(checkout: Path, outputs: Path) -> None:
    """Renew those of the README's results that were measured in `outputs`, and the figures that it shows.

    A section with a part that was not measured stays as it is, with the commit and the machine it names.
    """
    readme = checkout / "README.md"
    text = readme.read_text()
    for name, section in sections(measured(outputs)).items():
        begin, end = marks(name)
        before, found, rest = text.partition(begin)
        _, found_end, after = rest.partition(end)
        if not found or not found_end:
            raise ValueError(f"{readme} has no lines {begin.strip()} and {end.strip()}")
        text = before + begin + section + end + after
    readme.write_text(text)
    for part in PARTS:
        for name in part.figures:
            picture = outputs / part.name / "figures" / f"{name}.png"
            if picture.exists():
                shutil.copy(picture, checkout / "figures" / f"{part.name}_{name}.png")


def marks(section: str) -> tuple[str, str]:
    """The lines of the README between which a section stands."""
    return f"<!-- {section}: made by scripts/reproduce -->\n", f"<!-- end of {section} -->\n"


@dataclass(frozen=True)
class Measured:
    """A part that was carried out.

    Attributes:
        groups: Of its runs, as `layerpar.results.groups` makes them.
        commits: Of the code that they were measured with.
    """

    groups: pd.DataFrame
    commits: str


def measured(outputs: Path) -> dict[str, Measured]:
    """The parts that were carried out in `outputs`, by name."""
    return {
        part.name: Measured(summarise(load([folder])), commits(folder))
        for part in PARTS
        for folder in [outputs / part.name]
        if (folder / "results.csv").exists()
    }


def sections(parts: dict[str, Measured]) -> dict[str, str]:
    """The README's sections whose parts were all carried out: tables with spread, what they say, figures."""
    made: dict[str, str] = {}
    for name, (needed, write) in SECTIONS.items():
        if all(part in parts for part in needed):
            groups = {part: parts[part].groups for part in needed}
            code = ", ".join(dict.fromkeys(parts[part].commits for part in needed))
            pictures = [
                f"![{part.title}: {figure.replace('_', ' ')}](figures/{part.name}_{figure}.png)"
                for part in PARTS
                for figure in part.figures
                if part.name in needed
            ]
            made[name] = "\n\n".join([*write(groups, f"{_seeds(groups)}, commit {code}"), *pictures]) + "\n"
    return made


def _speed(parts: dict[str, pd.DataFrame], measured_by: str) -> Iterator[str]:
    rows, losses = [], []
    labels = list(dict.fromkeys(label for groups in parts.values() for label in groups["label"]))
    labels.remove("serial")
    for name, groups in parts.items():
        for depth, group in groups.groupby("depth"):
            by_label = group.set_index("label")
            seconds = _spread(by_label.loc["serial"], "train_seconds")
            cells = [_cell(by_label, label, "speed_up") for label in labels]
            rows.append([f"{DEPTHS[name]}, depth {depth}", seconds, *cells])
            losses += _slower(f"{DEPTHS[name]}, depth {depth}", by_label)
    yield f"Speed-up over serial training on one core, {measured_by}:"
    yield _table(["network", "serial, seconds", *labels], rows)
    yield _verdict("Where layerwise loses on speed", losses, "no rival was faster at any depth")


def _slower(work: str, by_label: pd.DataFrame) -> list[str]:
    """What was faster than each layerwise way, by more than the error of the difference over seeds."""
    layerwise = by_label[by_label["mode"] == "layerwise"]
    rivals = by_label[by_label["mode"] != "layerwise"]
    return [
        f"{work}: {label} ({own['speed_up']:.2f}) is slower than {rival} ({other['speed_up']:.2f})"
        for label, own in layerwise.iterrows()
        for rival, other in rivals.iterrows()
        if not own["contended"]
        and not other["contended"]
        and compare(own, other, "train_seconds").verdict(less="faster", more="slower") == "slower"
    ]


def _accuracy(parts: dict[str, pd.DataFrame], measured_by: str) -> Iterator[str]:
    ((name, groups),) = parts.items()
    heads, rows, losses = ["mode", "test accuracy %", "points to serial"], [], []
    timed = not groups["contended"].any()
    if timed:
        heads += ["speed-up", "seconds to target"]
    else:
        measured_by += ", trained side by side (so without seconds)"
    for _, group in groups.iterrows():
        points = "" if group["is_unit"] else _spread(group, "accuracy_difference", scale=100, sign="+")
        way = ", ".join(text for text in (group["label"], group["settings"]) if text)
        pace = _pace(group) if timed else []
        rows.append([way, _spread(group, "test_accuracy", scale=100), points, *pace])
        difference = Difference(
            *(group[f"accuracy_difference{suffix}"] for suffix in ("", "_ci95", "_count"))
        )
        if difference.verdict(less="less accurate", more="more accurate") == "less accurate":
            losses.append(f"{way} by {-100 * difference.mean:.2f} points")
    first = groups.iloc[0]  # all are of the same work
    work = f"{first['epochs']} epochs" + ("" if first["precision"] == "fp32" else f" in {first['precision']}")
    yield f"Accuracy on {ACCURACIES[name]}, {work}, {measured_by}:"
    yield _table(heads, rows)
    yield _verdict("Less accurate than serial", losses, "none")


def _pace(line: pd.Series) -> list[str]:
    target = _spread(line, "time_to_target_seconds") if line["num_reached"] == line["num_seeds"] else "∞"
    return [_spread(line, "speed_up"), target]


def _aggregations(parts: dict[str, pd.DataFrame], measured_by: str) -> Iterator[str]:
    (groups,) = parts.values()
    kinds = ["layerwise frozen", "layerwise local", "data"]
    serial = groups[groups["label"] == "serial"].iloc[0]
    rows = []
    for rule, group in groups[groups["label"].isin(kinds)].groupby("aggregation", sort=False):
        by_label = group.set_index("label")
        accuracies = [_cell(by_label, kind, "test_accuracy", scale=100) for kind in kinds]
        rows.append([str(rule), *accuracies, _cell(by_label, kinds[0], "speed_up")])
    yield (
        f"Aggregations on {serial['dataset']}, test accuracy %, {measured_by}; serial training "
        f"reaches {_spread(serial, 'test_accuracy', scale=100)}:"
    )
    yield _table(["rule", *kinds, "speed-up of frozen"], rows)


def _blocks(parts: dict[str, pd.DataFrame], measured_by: str) -> Iterator[str]:
    (groups,) = parts.values()
    serial = groups[groups["label"] == "serial"].iloc[0]
    layerwise = groups[groups["mode"] == "layerwise"]
    counts = layerwise["num_blocks"].astype(int)
    layerwise = layerwise.assign(way=[_without_blocks(group) for _, group in layerwise.iterrows()])
    ways = list(dict.fromkeys(layerwise["way"]))
    accuracy = _spread(serial, "test_accuracy", scale=100)
    rows = [["1 (serial)", *[accuracy] * len(ways)]]
    for count, group in layerwise.groupby(counts):
        by_way = group.set_index("way")
        rows.append([str(count), *(_cell(by_way, way, "test_accuracy", scale=100) for way in ways)])
    yield f"Finer blocks on {serial['dataset']}, test accuracy %, {measured_by}:"
    yield _table(["blocks", *ways], rows)


def _without_blocks(group: pd.Series) -> str:
    """The label of a layerwise way, with what tells it from others but the number of blocks."""
    settings = [text for text in group["settings"].split(", ") if text and not text.startswith("blocks=")]
    return ", ".join([group["label"], *settings])


def _seeds(parts: dict[str, pd.DataFrame]) -> str:
    counts = sorted({int(count) for groups in parts.values() for count in groups["num_seeds"]})
    seeds = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    machines = sorted({str(machine) for groups in parts.values() for machine in groups["hardware"].dropna()})
    spread = "one seed" if counts == [1] else f"mean ± 95 % interval over {seeds} seeds"
    return f"{spread}, {', '.join(machines)}"


def _cell(by_label: pd.DataFrame, label: str, measure: str, *, scale: float = 1.0) -> str:
    """The label's measure, a dash where it was not run."""
    return _spread(by_label.loc[label], measure, scale=scale) if label in by_label.index else "-"


def _spread(group: pd.Series, measure: str, *, scale: float = 1.0, sign: str = "") -> str:
    """Mean ± interval; of seconds that are no measurement, that they are none."""
    if (measure == "speed_up" and group["speed_up_contended"]) or (
        measure in ("train_seconds", "time_to_target_seconds") and group["contended"]
    ):
        return "contended"
    mean, ci95 = group[measure] * scale, group[f"{measure}_ci95"] * scale
    if pd.isna(mean):
        return "-"
    return f"{mean:{sign}.2f}" + ("" if pd.isna(ci95) else f" ± {ci95:.2f}")


def _verdict(title: str, lines: list[str], otherwise: str) -> str:
    return f"{title}: {'; '.join(lines) or otherwise}."


def _table(heads: list[str], rows: list[list[str]]) -> str:
    rules = [":--", *["--:"] * (len(heads) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [heads, rules, *rows])


SECTIONS: dict[str, tuple[tuple[str, ...], Callable[[dict[str, pd.DataFrame], str], Iterator[str]]]] = {
    "depth": (("depth_mlp", "depth_resnet"), _speed),
    "mnist": (("mnist",), _accuracy),
    "aggregations": (("aggregations",), _aggregations),
    "blocks": (("blocks",), _blocks),
    "cifar10": (("cifar10",), _accuracy),
    "cifar10_long": (("cifar10_long",), _accuracy),
}
"""The README's sections: from which parts each is made, and how."""
