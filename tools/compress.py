"""`srkd compress`: a budget in, a student out."""

import sys

from srkd.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main(["compress", *sys.argv[1:]]))
