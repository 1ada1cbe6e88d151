"""`srkd zoo`: list, train and verify the zoo's models."""

import sys

from srkd.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main(["zoo", *sys.argv[1:]]))
