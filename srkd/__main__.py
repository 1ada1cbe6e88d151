"""The command `srkd`, and `python -m srkd`."""


def main() -> int:
    """Run the command; an interruption before it has begun ends as one after."""
    try:
        from srkd.cli.main import main as command
    except KeyboardInterrupt:
        return 130
    return command()


if __name__ == "__main__":
    raise SystemExit(main())
