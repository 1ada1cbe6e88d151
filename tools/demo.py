"""`srkd demo`: the main job on real photographs."""

import sys

from srkd.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main(["demo", *sys.argv[1:]]))
