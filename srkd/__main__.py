"""`python -m srkd` runs the command `srkd`."""

from srkd.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
