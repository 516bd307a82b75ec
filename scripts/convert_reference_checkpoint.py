"""mega-convert, from a checkout."""

import sys

from mega_fairseq.commands.convert import main

if __name__ == "__main__":
    sys.exit(main(prog="convert_reference_checkpoint.py"))
