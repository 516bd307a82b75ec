"""mega-plot ema, from a checkout."""

import sys

from mega_fairseq.commands.plot_ema import main

if __name__ == "__main__":
    sys.exit(main(prog="plot_ema.py"))
