"""Which backups stay: the last ones, and the last of each day, week, month and year."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from lc_memory.errors import InvalidInput


@dataclass(frozen=True, slots=True)
class Keep:
    """How many backups stay: the ``last`` so many, and the latest of so many days, weeks, months
    and years (UTC) that have any. The newest one always stays."""

    last: int = 7
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0

    def __post_init__(self) -> None:
        for name, number in asdict(self).items():
            if type(number) is not int or not 0 <= number < 2**31:
                raise InvalidInput(f"keep: {name} is {number!r}, not a whole number from 0")

    @classmethod
    def of(cls, keep: Keep | int | Mapping[str, int] | None) -> Keep:
        """From a number of last ones, or a dict such as ``{"last": 3, "daily": 7}``."""
        if isinstance(keep, Keep):
            return keep
        if keep is None:
            return cls(last=7, daily=7, weekly=4, monthly=12)
        if isinstance(keep, Mapping):
            unknown = set(keep) - set(asdict(cls()))
            if unknown:
                raise InvalidInput(f"keep: {min(unknown)!r} is none of {', '.join(asdict(cls()))}")
            return cls(**{"last": 0, **keep})
        return cls(last=keep)


_PERIODS: Final[dict[str, Callable[[datetime], Any]]] = {
    "daily": lambda when: when.date(),
    "weekly": lambda when: when.isocalendar()[:2],
    "monthly": lambda when: (when.year, when.month),
    "yearly": lambda when: when.year,
}


def kept(times: Iterable[datetime], keep: Keep) -> set[datetime]:
    """Which of these times stay."""
    newest_first = sorted(set(times), reverse=True)
    stay = set(newest_first[: max(keep.last, 1)])
    for name, period in _PERIODS.items():
        latest: dict[Any, datetime] = {}
        for when in newest_first:
            latest.setdefault(period(when), when)
        stay.update(list(latest.values())[: getattr(keep, name)])
    return stay
