"""`srkd benchmark`: measure srkd on this machine."""

import sys

from srkd.cli.main import main

# Subprocesses of the measurements import this file again.
if __name__ == "__main__":
    raise SystemExit(main(["benchmark", *sys.argv[1:]]))
