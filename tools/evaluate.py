"""`srkd evaluate`: PSNR and SSIM of models on data sets."""

import sys

from srkd.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main(["evaluate", *sys.argv[1:]]))
