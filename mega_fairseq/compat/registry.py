"""The list of changes and how one is put in place, so that who looks at what it stands in for sees no change.

A change repairs a fault of fairseq, checks what a user gives, guards against a file, or sets something of the
process. A stand-in has the name, documentation, attributes, signature, source and globals of the original,
and is found by pickle under its name. TorchScript compiles the source that it finds: the original's, in its
own globals, as without the plugin.
"""

import contextlib
import functools
import inspect
import logging
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from mega_fairseq.compat import switches

logger = logging.getLogger(__name__)


OLD = ("0.12.2",)  # fairseq itself, for Python 3.10
MAIN = ("0.12.3", "0.12.3.1")  # ve-fairseq and fairseq-fixed: the repository's last state, for later Pythons
ALL = (*OLD, *MAIN)


@dataclass
class Change:
    """A function that stands in for something of fairseq or, as a setting, is called once."""

    function: Callable
    kind: str  # repair, check, safety or process
    targets: list[tuple[Any, str]] = field(default_factory=list)  # (owner, name) of each original
    place: str = ""  # of a setting: what it changes
    versions: tuple[str, ...] = ALL  # of fairseq that have the fault
    until: str = ""  # what must come before it can go, beyond a fairseq without the fault
    applied: bool = False

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def places(self) -> list[str]:
        return [_place(owner, name) for owner, name in reversed(self.targets)] or [self.place]

    @property
    def fault(self) -> str:
        return " ".join((self.function.__doc__ or "").split())


known: dict[str, Change] = {}


def _add(kind: str, function: Callable, **declared: Any) -> Change:
    found = known.setdefault(function.__name__, Change(function, kind, **declared))
    if found.function is not function:
        raise AssertionError(f"two changes are called {function.__name__}; MEGA_REPAIRS_OFF needs one each")
    return found


def _standing_for(kind: str, owner: Any, name: str, **declared: Any) -> Callable[[Callable], Callable]:
    """Register `change(original, ...)` to stand in for `owner.name`, where owner is what defines it."""

    def register(change: Callable) -> Callable:
        _add(kind, change, **declared).targets.append((owner, name))
        return change

    return register


repairs = functools.partial(_standing_for, "repair")
checks = functools.partial(_standing_for, "check")
guards = functools.partial(_standing_for, "safety")


def setting(kind: str, place: str, **declared: Any) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Register a function that changes `place`, once or harmlessly again; False where it cannot."""

    def register(function: Callable[[], Any]) -> Callable[[], Any]:
        _add(kind, function, place=place, **declared)
        return function

    return register


def put_in_place() -> None:
    """Apply every change that is not switched off, once; later ones of a name around earlier."""
    switches.check(known)
    for change in known.values():
        if not switches.is_on(change.name):
            if change.kind == "safety":
                logger.warning(
                    "%s switches %s off: a checkpoint from elsewhere may do harm, see docs/repairs.md",
                    *(switches.VARIABLE, change.name),
                )
            continue
        for owner, name in change.targets:
            _replace(owner, name, change.function)
        change.applied = bool(change.targets) or change.function() is not False


def _replace(owner: Any, name: str, change: Callable) -> None:
    found = inspect.getattr_static(owner, name)
    binder = type(found) if isinstance(found, staticmethod | classmethod) else None
    original = found.__func__ if binder else found
    earlier = getattr(original, "mega_repairs", ())
    if change in earlier:
        return
    replacement = _standing_in(change, original)
    replacement.mega_original = getattr(original, "mega_original", original)  # type: ignore[attr-defined]
    replacement.mega_repairs = (*earlier, change)  # type: ignore[attr-defined]
    setattr(owner, name, binder(replacement) if binder else replacement)
    if isinstance(owner, types.ModuleType):
        _replace_imported(original, replacement)


def _standing_in(change: Callable, original: types.FunctionType) -> types.FunctionType:
    def replacement(*args, **kwargs):
        return change(original, *args, **kwargs)

    made = types.FunctionType(
        replacement.__code__, original.__globals__, original.__name__, None, replacement.__closure__
    )
    functools.update_wrapper(made, original)
    made.__signature__ = inspect.signature(original)  # type: ignore[attr-defined]
    return made


def _replace_imported(original: Callable, replacement: Callable) -> None:
    """`from module import function` has put the original into other modules as well, and `python -m` into
    __main__.
    """
    for module_name, module in list(sys.modules.items()):
        if module_name.partition(".")[0] in ("fairseq", "fairseq_cli", "__main__", "__mp_main__"):
            for name, value in list(vars(module).items()):
                if value is original:
                    setattr(module, name, replacement)


def _place(owner: Any, name: str) -> str:
    home = owner.__name__ if isinstance(owner, types.ModuleType) else _place_of_class(owner)
    return f"{home}.{name}"


def _place_of_class(owner: type) -> str:
    return f"{owner.__module__}.{owner.__qualname__}"


@contextlib.contextmanager
def swapped(owner: Any, name: str, value: Any) -> Iterator[None]:
    """`owner.name` is `value` inside."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
