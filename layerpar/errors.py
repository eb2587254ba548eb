"""The errors a user meets. Anything else that is raised is a bug of ours and shows its traceback."""

from collections.abc import Iterable


class UserError(Exception):
    """A mistake in what was asked for: one line that ends with the override that repairs it."""


class DivergedError(Exception):
    """The training loss stopped being a finite number."""

    def __init__(self, step: int, loss: float) -> None:
        super().__init__(f"loss became {loss} at step {step}; try a smaller optimizer.lr")
        self.step = step


def require(condition: bool, message: str) -> None:
    """Raise `UserError(message)` unless `condition` holds."""
    if not condition:
        raise UserError(message)


def require_choice(key: str, value: str, choices: Iterable[str]) -> None:
    """Raise `UserError` unless `value` is one of `choices`, naming the override that sets `key`."""
    allowed = list(choices)
    require(
        value in allowed, f"{key}={value} is not known; try {key}={allowed[0]} (one of {', '.join(allowed)})"
    )


def require_at_least(key: str, value: float, least: float) -> None:
    """Raise `UserError` unless `value >= least`, naming the override that sets `key`."""
    require(value >= least, f"{key}={value} is too small; try {key}={least}")
