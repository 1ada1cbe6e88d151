"""`srkd verify`: exported files against the LR/SR pairs that they carry."""

import sys

from srkd.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main(["verify", *sys.argv[1:]]))
