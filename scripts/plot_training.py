"""mega-plot training, from a checkout."""

import sys

from mega_fairseq.commands.plot_training import main

if __name__ == "__main__":
    sys.exit(main(prog="plot_training.py"))
