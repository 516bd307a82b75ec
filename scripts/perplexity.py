"""mega-perplexity, from a checkout."""

import sys

from mega_fairseq.commands.perplexity import main

if __name__ == "__main__":
    sys.exit(main(prog="perplexity.py"))
