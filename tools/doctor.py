"""`srkd doctor`: what srkd runs on, and what to do."""

import sys

from srkd.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main(["doctor", *sys.argv[1:]]))
