"""Fill in the figures of README.md, docs/ and models/, and write the model cards (see srkd/docs/figures.py).

--check changes nothing, prints all figures that differ from their file or are typed by hand, and exits with 1 if there
are any.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from srkd.docs.figures import cards, pages
from srkd.docs.typed import typed, written_by_hand
from srkd.errors import SrkdError
from srkd.files.atomic import write_text


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing, exit with 1 if a figure is wrong")
    check, root = parser.parse_args().check, Path(__file__).parents[1]
    stale: list[str] = []
    try:
        for path, text in cards():
            if path.read_text(encoding="utf-8") != text:
                stale.append(f"{path}: differs from metrics.json and the recipe")
                if not check:
                    write_text(path, text)
        for page in pages(root):
            if wrong := page.stale():
                stale += wrong
                if not check:
                    write_text(page.path, page.filled())
    except SrkdError as error:
        print(f"figures: {error}", file=sys.stderr)
        return 1
    by_hand = [line for path in written_by_hand(root) for line in typed(path)]
    for line in [*stale, *by_hand]:
        print(line, file=sys.stderr if check else sys.stdout)
    return int(bool(by_hand) or (check and bool(stale)))


if __name__ == "__main__":
    sys.exit(main())
