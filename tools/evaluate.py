"""`srkd evaluate`: PSNR and SSIM of models on data sets."""

import sys

from srkd.cli.main import main

raise SystemExit(main(["evaluate", *sys.argv[1:]]))
