"""What the commands share: the name and help of each, numbers above 0, and errors told in one sentence."""

import argparse
import sys


def parser(prog: str, description: str) -> argparse.ArgumentParser:
    """A parser of the command `prog`, see `describe`."""
    return describe(argparse.ArgumentParser(), prog, description)


def describe(parser: argparse.ArgumentParser, prog: str, description: str) -> argparse.ArgumentParser:
    """The parser with its name and help, in which %(prog)s is how the command is called.

    prog: the installed command's name, or that of a file in scripts/.
    """
    called = f"python scripts/{prog}" if prog.endswith(".py") else prog
    parser.prog, parser.description = prog, description.replace("%(prog)s", called)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    return parser


def positive(text: str) -> int:
    """A whole number above 0, for argparse."""
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def failed(prog: str, error: object) -> int:
    """Tell the error, one sentence; the exit status."""
    print(f"{prog}: {error}", file=sys.stderr)
    return 1
