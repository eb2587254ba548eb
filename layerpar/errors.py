"""The errors a user meets. Anything else that is raised is a bug of ours and shows its traceback."""

from collections.abc import Iterable


class UserError(Exception):
    """A mistake in what was asked for: one line that ends with the override that repairs it."""


class RefusedError(UserError):
    """A worker that was started by hand leaves a run alone, and all that is written of it."""


class DivergedError(Exception):
    """The training loss stopped being a finite number."""

    def __init__(self, step: int, loss: float) -> None:
        super().__init__(f"loss became {loss} at step {step}; try a smaller optimizer.lr")
        self.step = step


class LostPeerError(Exception):
    """Another worker did not answer, or is gone. `silent`: those known to show no sign of life."""

    def __init__(self, message: str, *, silent: tuple[int, ...] = (), timed_out: bool = False) -> None:
        super().__init__(message)
        self.silent = silent
        self.timed_out = timed_out


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


def require_divisor(key: str, value: int, whole: int, what: str) -> None:
    """Raise `UserError` unless `value` divides `whole`, naming the nearest number that does.

    Args:
        key: The key that holds the value.
        value: At least 1.
        whole: What it must divide.
        what: Names the whole, such as `batch_size=100`.
    """
    divisors = [number for number in range(1, whole + 1) if whole % number == 0]
    nearest = min(divisors, key=lambda number: (abs(number - value), -number))
    require(whole % value == 0, f"{key}={value} does not divide {what}; try {key}={nearest}")
