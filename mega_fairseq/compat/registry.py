"""The list of repairs and how one is put in place."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

_replacements: list[tuple[Any, str, Callable]] = []


def repairs(owner: Any, name: str) -> Callable[[Callable], Callable]:
    """Register `repair(original, ...)` to stand in for `owner.name`."""

    def register(repair: Callable) -> Callable:
        _replacements.append((owner, name, repair))
        return repair

    return register


def put_in_place() -> None:
    """Put every registered repair in the place of its original, once; later ones of a name around earlier."""
    for owner, name, repair in _replacements:
        _replace(owner, name, repair)


def _replace(owner: Any, name: str, repair: Callable) -> None:
    found = inspect.getattr_static(owner, name)
    binder = type(found) if isinstance(found, staticmethod | classmethod) else None
    original = found.__func__ if binder else found
    earlier = getattr(original, "mega_repairs", ())
    if repair in earlier:
        return

    @functools.wraps(original, updated=())
    def replacement(*args, **kwargs):
        return repair(original, *args, **kwargs)

    replacement.mega_original = getattr(original, "mega_original", original)  # type: ignore[attr-defined]
    replacement.mega_repairs = (*earlier, repair)  # type: ignore[attr-defined]
    setattr(owner, name, binder(replacement) if binder else replacement)
