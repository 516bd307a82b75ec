"""Mega for fairseq. Importing the package repairs fairseq (see compat) and registers the models."""

import logging
import sys

__version__ = "0.1.0"

_INSTALL = {
    (3, 13): "pip install torch numpy cython setuptools wheel && "
    "pip install --no-build-isolation fairseq-fixed==0.12.3.1",
    (3, 12): "pip install torch==2.13.0 && pip install ve-fairseq==0.12.3",
    (3, 11): "pip install torch==2.13.0 && pip install ve-fairseq==0.12.3",
    (3, 10): 'pip install "torch>=2.6" && pip install "pip<24.1" && pip install fairseq==0.12.2',
}


def _require_fairseq() -> None:
    logging.disable(logging.INFO)  # an import of fairseq says which of its optional packages are not there
    try:
        import fairseq  # noqa: F401
        import torch  # noqa: F401
    except Exception as error:  # the fairseq of PyPI fails on Python 3.11 with a ValueError
        python = sys.version_info[:2]
        how = _INSTALL.get(python, "use Python 3.11 or 3.12; there, " + _INSTALL[3, 11])
        raise ImportError(
            f"mega_fairseq needs PyTorch and fairseq, which do not import ({type(error).__name__}: {error}). "
            f"For Python {python[0]}.{python[1]}: {how}"
        ) from error
    finally:
        logging.disable(logging.NOTSET)


# fairseq imports a --user-dir under its folder's name, so a link or a copy with another name lands here as a
# second module: both names must stand for one package, or its models would be registered twice.
_this = sys.modules[__name__]
_package = sys.modules.setdefault("mega_fairseq", _this)
sys.modules[__name__] = _package

if _package is _this:
    from mega_fairseq.compat import switches
    from mega_fairseq.compat.process import environment

    for _setting in (environment.spin_for_a_moment, environment.use_large_pages):  # before torch is loaded
        if switches.is_on(_setting.__name__):
            _setting()
    _require_fairseq()

    from mega_fairseq.compat import install

    install.apply()

    from mega_fairseq import criterions, models, tasks  # noqa: F401
