"""mega-average, from a checkout."""

import sys

from mega_fairseq.commands.average import main

if __name__ == "__main__":
    sys.exit(main(prog="average_checkpoints.py"))
