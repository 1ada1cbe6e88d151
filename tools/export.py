"""`srkd export`: a trained network as verified files for other runtimes."""

import sys

from srkd.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main(["export", *sys.argv[1:]]))
