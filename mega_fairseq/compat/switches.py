"""MEGA_REPAIRS_OFF: repairs that the user does without, by name. Needs nothing, so that it is read first."""

import difflib
import os
from collections.abc import Iterable

VARIABLE = "MEGA_REPAIRS_OFF"
ALL = "all"


def switched_off() -> list[str]:
    """The names in MEGA_REPAIRS_OFF, which are separated by commas or spaces."""
    return os.environ.get(VARIABLE, "").replace(",", " ").split()


def is_on(name: str) -> bool:
    """Whether the repair of that name is wanted; `all` switches every one off."""
    return not {name, ALL} & set(switched_off())


def check(known: Iterable[str]) -> None:
    """Raises ValueError where MEGA_REPAIRS_OFF has a name that no repair bears: it would have no effect."""
    known = sorted(known)
    for name in switched_off():
        if name != ALL and name not in known:
            close = difflib.get_close_matches(name, known)
            remedy = f"did you mean {' or '.join(close)}? " if close else ""
            raise ValueError(
                f"{VARIABLE}: there is no repair {name!r}; {remedy}The repairs are {ALL}, {', '.join(known)}"
            )
