import json
from pathlib import Path
from typing import Any

import pytest

from srkd.docs.figures import Page

STUDY = {"seeds": [0, 1], "variants": [{"name": "rkd"}, {"name": "wavelet"}, {"name": "fsp"}]}
HELPS = '<!--= helps "Which help?" ./final.yml ./r.json psnr Set14 B100 --><!--/-->'
CLAIM = '<!--= claim "Is RKD best?" ./final.yml ./r.json rkd psnr Set14 B100 --><!--/-->'
JUDGED = "<!--= judged ./final.yml ./r.json Set14 psnr 2 --><!--/-->"
WHEN = '<!--= when ./r.json "![Curves](curves.png)" --><!--/-->'


def filled(folder: Path, text: str, results: Any = None) -> str:
    (folder / "final.yml").write_text(json.dumps(STUDY), encoding="utf-8")
    (folder / "page.md").write_text(text, encoding="utf-8")
    if results is not None:
        (folder / "r.json").write_text(json.dumps(results), encoding="utf-8")
    return Page(folder / "page.md", folder).filled()


def results(verdicts: dict[str, tuple[str, str]], missing: int = 0) -> dict[str, Any]:
    """A study whose variants are by 0.1, 0.2, ... dB above the control on both sets."""
    tables = []
    for number, name in enumerate(("Set14", "B100")):
        rows: list[dict[str, Any]] = [{"variant": "control", "seeds": 2, "mean": 32.0}]
        for place, (variant, own) in enumerate(verdicts.items(), 1):
            gain = {"difference": place / 10, "low": 0.0, "high": 1.0, "p_holm": 0.01, "verdict": own[number]}
            rows.append({"variant": variant, "seeds": 2, "mean": 32 + place / 10, **gain})
        tables.append({"set": name, "metric": "psnr", "rows": rows})
    runs = [{"variant": v, "seed": s} for v in ("control", *verdicts) for s in (0, 1)]
    return {"runs": runs[: len(runs) - missing], "scores": tables, "lower": []}


BOTH = {"rkd": ("better", "better"), "wavelet": ("better", "worse"), "fsp": ("no difference shown",) * 2}


def test_what_helps_is_read_from_the_results(tmp_path: Path) -> None:
    text = filled(tmp_path, HELPS, results(BOTH))
    assert "**Which help?** Better than the control: `rkd` +0.10 on Set14, +0.10 on B100. " in text
    assert "No difference shown: `fsp` +0.30 on Set14, +0.30 on B100. " in text
    assert "Not the same on every set: `wavelet` +0.20 on Set14 (better), +0.20 on B100 (worse)." in text


@pytest.mark.parametrize(("block", "question"), [(HELPS, "Which help?"), (CLAIM, "Is RKD best?")])
def test_what_is_missing_is_said(block: str, question: str, tmp_path: Path) -> None:
    none = filled(tmp_path, block)
    assert f"**{question}** Not known yet: none of the 8 runs of `final.yml` is finished." in none
    some = filled(tmp_path, block, results(BOTH, missing=5))
    left = "5 of 8 runs of `final.yml` are missing (`rkd` 1, `wavelet` 2, `fsp` 2)"
    assert f"**{question}** Not known yet: {left}." in some


def test_variants_whose_runs_are_all_finished_are_answered_for(tmp_path: Path) -> None:
    left = "1 of 8 runs of `final.yml` are missing (`fsp` 1)."
    text = filled(tmp_path, HELPS, results(BOTH, missing=1))
    assert "Better than the control: `rkd` +0.10 on Set14, +0.10 on B100. Not the same" in text
    assert f"+0.20 on B100 (worse). So far: {left}" in text and "`fsp` +0.30" not in text
    assert f"on B100 `rkd` is number 2 of 3 and, against the control, better. So far: {left}" in filled(
        tmp_path, CLAIM, results(BOTH, missing=1)
    )
    best = {"wavelet": BOTH["wavelet"], "rkd": BOTH["rkd"], "fsp": BOTH["fsp"]}
    assert "Not known yet: on Set14 `rkd` is number 1 of 3" in filled(tmp_path, CLAIM, results(best, missing=1))


def test_results_of_few_seeds_are_differences_without_a_verdict(tmp_path: Path) -> None:
    few = {variant: ("2 seeds: no verdict",) * 2 for variant in BOTH}
    text = filled(tmp_path, HELPS + CLAIM, results(few))
    assert "**Which help?** Differences without a verdict (2 seeds): `rkd` +0.10 on Set14, +0.10 on B100; " in text
    assert "**Is RKD best?** No verdict: on Set14 `rkd` is number 3 of 4" in text


def test_a_claim_holds_if_the_variant_is_best_and_better_on_every_set(tmp_path: Path) -> None:
    assert "No: on Set14 `rkd` is number 3 of 4 and, against the control, better; on B100" in filled(
        tmp_path, CLAIM, results(BOTH)
    )
    last = {"fsp": BOTH["fsp"], "wavelet": BOTH["wavelet"], "rkd": BOTH["rkd"]}
    assert "Yes: on Set14 `rkd` is number 1 of 4" in filled(tmp_path, CLAIM, results(last))


def test_tables_and_images_of_results_that_do_not_exist_yet(tmp_path: Path) -> None:
    before = filled(tmp_path, JUDGED + WHEN)
    assert "No results yet: none of the 8 runs" in before and "](curves.png)" not in before.replace(WHEN[:-15], "")
    after = filled(tmp_path, JUDGED + WHEN, results(BOTH))
    assert "| rkd     |     2 | 32.10 |" in after and "\n![Curves](curves.png)\n" in after


def test_equal_values(tmp_path: Path) -> None:
    block = '<!--= equal "At equal PSNR?" ./r.json --><!--/-->'
    assert "**At equal PSNR?** Not known yet: `r.json` is not written." in filled(tmp_path, block)
    row = {"metric": "niqe", "set": "Set14", "difference": -0.25, "verdict": "better", "outside": 1, "seeds": 5}
    expected = "niqe on Set14 -0.2500 (better; 1 of 5 seeds outside the controls' range)."
    assert expected in filled(tmp_path, block, [row])
    failed = {"metric": "niqe", "set": "Set14", "verdict": "no verdict: NaN", "outside": 0, "seeds": 4}
    assert "niqe on Set14 (no verdict: NaN)." in filled(tmp_path, block, [failed])
