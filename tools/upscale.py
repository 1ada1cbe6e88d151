"""`srkd upscale`: upscale images."""

import sys

from srkd.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main(["upscale", *sys.argv[1:]]))
