"""The list of repairs and how one is put in place, so that who looks at what it stands in for sees no change.

A stand-in has the original's name, documentation, attributes, signature, source and globals, and is found by
pickle under the original's name. TorchScript compiles the source that it finds: the original's, in its own
globals, as without the plugin.
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


@dataclass
class Repair:
    """One fault and its repair, which replaces something in fairseq or, as a setting, is called once."""

    function: Callable
    targets: list[tuple[Any, str]] = field(default_factory=list)  # (owner, name) of each original
    place: str = ""  # of a setting: what it changes
    safety: bool = False  # it keeps a file from running code
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


known: dict[str, Repair] = {}


def _add(function: Callable) -> Repair:
    found = known.setdefault(function.__name__, Repair(function))
    if found.function is not function:
        raise AssertionError(f"two repairs are called {function.__name__}; MEGA_REPAIRS_OFF needs one each")
    return found


def repairs(owner: Any, name: str, safety: bool = False) -> Callable[[Callable], Callable]:
    """Register `repair(original, ...)` to stand in for `owner.name`, where owner is what defines it."""

    def register(repair: Callable) -> Callable:
        found = _add(repair)
        found.targets.append((owner, name))
        found.safety |= safety
        return repair

    return register


def setting(place: str, safety: bool = False) -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Register a function that changes `place`, once or harmlessly again; False where it cannot."""

    def register(function: Callable[[], Any]) -> Callable[[], Any]:
        found = _add(function)
        found.place, found.safety = place, safety
        return function

    return register


def put_in_place() -> None:
    """Apply every repair that is not switched off, once; later ones of a name around earlier."""
    switches.check(known)
    for repair in known.values():
        if not switches.is_on(repair.name):
            if repair.safety:
                logger.warning(
                    "%s switches %s off: a checkpoint from elsewhere may do harm, see docs/repairs.md",
                    *(switches.VARIABLE, repair.name),
                )
            continue
        for owner, name in repair.targets:
            _replace(owner, name, repair.function)
        repair.applied = bool(repair.targets) or repair.function() is not False


def _replace(owner: Any, name: str, repair: Callable) -> None:
    found = inspect.getattr_static(owner, name)
    binder = type(found) if isinstance(found, staticmethod | classmethod) else None
    original = found.__func__ if binder else found
    earlier = getattr(original, "mega_repairs", ())
    if repair in earlier:
        return
    replacement = _standing_in(repair, original)
    replacement.mega_original = getattr(original, "mega_original", original)  # type: ignore[attr-defined]
    replacement.mega_repairs = (*earlier, repair)  # type: ignore[attr-defined]
    setattr(owner, name, binder(replacement) if binder else replacement)
    if isinstance(owner, types.ModuleType):
        _replace_imported(original, replacement)


def _standing_in(repair: Callable, original: types.FunctionType) -> types.FunctionType:
    def replacement(*args, **kwargs):
        return repair(original, *args, **kwargs)

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
