"""mega-plot attention, from a checkout."""

import sys

from mega_fairseq.commands.plot_attention import main

if __name__ == "__main__":
    sys.exit(main(prog="plot_attention.py"))
