"""mega-score, from a checkout."""

import sys

from mega_fairseq.commands.score import main

if __name__ == "__main__":
    sys.exit(main(prog="score.py"))
