"""`python -m mega_fairseq`: what is installed, the path for --user-dir, and the presets with their sizes.

With --repairs: what it changes of fairseq and of the process, by kind, and how to do without.
"""

import argparse
import platform
from importlib.metadata import PackageNotFoundError, packages_distributions, version

import mega_fairseq
from mega_fairseq.compat import listing
from mega_fairseq.compat.repairs.plugin import PACKAGE
from mega_fairseq.models import presets


def _version(module: str) -> str:
    """fairseq comes from several distributions, so ask which one holds the module."""
    distributions = packages_distributions().get(module, [module])
    try:
        return f"{version(distributions[0])} ({distributions[0]})"
    except PackageNotFoundError:
        return "unknown (not installed by pip)"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m mega_fairseq", description="What is installed.")
    parser.add_argument("--repairs", action="store_true", help="list the repairs of fairseq instead")
    if parser.parse_args().repairs:
        print(listing.printed())
        return
    print(f"mega-fairseq  {mega_fairseq.__version__}")
    print(f"python        {platform.python_version()}")
    for module in ("torch", "fairseq", "numpy"):
        print(f"{module:13} {_version(module)}")
    print(f"--user-dir    {PACKAGE}\n")
    print("Presets with 1,000 words, or 267,744 where the softmax is adaptive; classifiers with 10 classes:")
    for name, parameters in presets.presets_with_sizes():
        print(f"{name:32} {parameters:>13,} parameters")


if __name__ == "__main__":
    main()
