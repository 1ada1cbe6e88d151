"""`srkd prepare_data`: fetch, check and decode data sets."""

import sys

from srkd.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main(["prepare_data", *sys.argv[1:]]))
