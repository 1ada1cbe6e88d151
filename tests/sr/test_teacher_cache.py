import json
import os
from pathlib import Path

import pytest
import torch

from srkd import networks
from srkd.data import patches
from srkd.distill.teachers import LiveTeacher
from srkd.errors import SrkdError
from srkd.inference.model import Model
from srkd.sr import teacher_cache
from support import IMAGES, PATCHES


def teacher() -> torch.nn.Module:
    torch.manual_seed(0)
    return networks.build({"type": "EDSR", "num_feat": 6, "num_block": 2, "upscale": 2, "img_range": 1.0}).eval()


def test_the_bank_has_the_live_teachers_predictions(tmp_path: Path) -> None:
    live = LiveTeacher(teacher(), ["body.*"])
    bank = teacher_cache.build_bank(live, IMAGES, PATCHES, 20, tmp_path / "bank")
    batch = patches.to_batch(patches.BankSource(bank, 5, 0).draw(2), torch.device("cpu"))
    prediction = live(batch)
    torch.testing.assert_close(batch["teacher_output"], prediction.output, rtol=0, atol=0.6 / patches.OUTPUT_STEPS)
    assert list(batch["teacher_features"]) == ["body.0", "body.1"]
    for name, feature in batch["teacher_features"].items():
        torch.testing.assert_close(feature, prediction.features[name].half().float(), rtol=0, atol=0)


def test_cached_outputs_equal_live_ones_away_from_the_border(tmp_path: Path) -> None:
    """Near the border they differ: the cached teacher sees the surroundings of the patch. Flips and rotations are
    off, since cached outputs are flipped and rotated, not recomputed."""
    network, margin = teacher(), 8
    cut = patches.Patches(gt_size=40, batch=4, scale=2, hflip=False, rot=False)
    outputs = teacher_cache.build_outputs(Model(network, 2), IMAGES, tmp_path / "o")
    batch = patches.to_batch(patches.PatchSource(IMAGES, cut, {"teacher_output": outputs}).draw(0), torch.device("cpu"))
    live, inner = LiveTeacher(network)(batch).output, slice(2 * margin, -2 * margin)
    difference = (batch["teacher_output"] - live).abs()
    assert difference[..., inner, inner].max() < 1e-4 < difference.max()


def test_an_interrupted_output_cache_is_continued(tmp_path: Path) -> None:
    class Cut(Exception):
        pass

    def stop(done: int, name: str) -> None:
        if done == 2:
            raise Cut

    whole = teacher_cache.build_outputs(Model(teacher(), 2), IMAGES, tmp_path / "whole")
    with pytest.raises(Cut):
        teacher_cache.build_outputs(Model(teacher(), 2), IMAGES, tmp_path / "cut", say=stop)
    with (tmp_path / "cut" / "outputs.part").open("ab") as file:
        file.write(b"half an image")
    done = []
    again = teacher_cache.build_outputs(
        Model(teacher(), 2), IMAGES, tmp_path / "cut", say=lambda n, name: done.append(name)
    )
    assert done == ["p2"]
    assert all((whole.image(i) == again.image(i)).all() for i in range(3))


@pytest.mark.parametrize("damage", ["zeros", "cut", "writable", "meta"])
def test_damaged_or_untrusted_caches_are_rebuilt(tmp_path: Path, damage: str) -> None:
    live = LiveTeacher(teacher(), ["body.*"])
    whole = teacher_cache.build_outputs(Model(teacher(), 2), IMAGES, tmp_path / "o")
    expected = [whole.image(i).copy() for i in range(3)]
    built = teacher_cache.build_bank(live, IMAGES, PATCHES, 20, tmp_path / "b")
    bank = {name: values.copy() for name, values in built.items() if name != "teacher_features"}
    for folder in (tmp_path / "o", tmp_path / "b"):
        assert teacher_cache.complete(folder) is not None
        largest = max(folder.iterdir(), key=lambda path: path.stat().st_size)
        if damage == "zeros":
            largest.write_bytes(largest.read_bytes()[:200] + bytes(largest.stat().st_size - 200))
        elif damage == "cut":
            os.truncate(largest, largest.stat().st_size - 10)
        elif damage == "writable":
            largest.chmod(0o666)
        else:
            (folder / "meta.json").write_text("[]")
        assert teacher_cache.complete(folder) is None
    again = teacher_cache.build_outputs(Model(teacher(), 2), IMAGES, tmp_path / "o")
    assert all((again.image(i) == expected[i]).all() for i in range(3))
    rebuilt = teacher_cache.build_bank(live, IMAGES, PATCHES, 20, tmp_path / "b")
    assert all((rebuilt[name] == values).all() for name, values in bank.items())


def test_caches_of_earlier_versions_are_still_used(tmp_path: Path) -> None:
    """They have no digests, but a teacher's outputs may take hours to compute."""
    teacher_cache.build_outputs(Model(teacher(), 2), IMAGES, tmp_path / "o")
    teacher_cache.build_bank(None, IMAGES, PATCHES, 20, tmp_path / "b")
    outputs, bank = (json.loads((tmp_path / name / "meta.json").read_text()) for name in "ob")
    (tmp_path / "o" / "meta.json").write_text(json.dumps({"shapes": outputs["shapes"]}))
    (tmp_path / "b" / "meta.json").write_text(json.dumps(bank["arrays"]))
    seen: list[str] = []
    teacher_cache.build_outputs(Model(teacher(), 2), IMAGES, tmp_path / "o", say=lambda n, name: seen.append(name))
    kept = teacher_cache.build_bank(None, IMAGES, PATCHES, 20, tmp_path / "b", lambda n, name: seen.append(name))
    assert seen == [] and set(kept) == {"lr", "hr"}


def test_a_cache_over_the_limit_raises_with_both_sizes() -> None:
    with pytest.raises(SrkdError, match=r"would take 2\.00 GB, more than cache.max_bytes \(1\.00 GB\)"):
        teacher_cache.check_size(2e9, 1e9, Path("x"), "things")
    assert "0.50 GB" in teacher_cache.check_size(5e8, 1e9, Path("x"), "things")


def test_the_estimated_bank_size_matches_the_files(tmp_path: Path) -> None:
    shapes = {"body.0": (6, 8, 8)}
    expected = teacher_cache.bank_bytes(PATCHES, 20, shapes, output=True)
    teacher_cache.build_bank(LiveTeacher(teacher(), ["body.0"]), IMAGES, PATCHES, 20, tmp_path / "bank")
    written = sum(path.stat().st_size for path in (tmp_path / "bank").glob("*.npy"))
    assert abs(written - expected) < 2000


def test_hashes_differ_between_networks() -> None:
    one, other = teacher(), teacher()
    assert teacher_cache.network_hash(one) == teacher_cache.network_hash(other)
    with torch.no_grad():
        other.conv_last.bias[0] += 1e-6
    assert teacher_cache.network_hash(one) != teacher_cache.network_hash(other)


def test_a_teacher_with_nan_outputs_raises(tmp_path: Path) -> None:
    network = teacher()
    torch.nn.init.constant_(network.conv_last.bias, float("nan"))
    with pytest.raises(SrkdError, match="NaN"):
        teacher_cache.build_outputs(Model(network, 2), IMAGES, tmp_path / "o")
