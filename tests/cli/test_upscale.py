from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from srkd.cli.main import main
from srkd.images.read import ImageData, list_images, read_image, write_image
from srkd.inference.model import Model
from support import tiny_checkpoint

RNG = np.random.default_rng(0)
TOOL = Path(__file__).parents[2] / "tools" / "upscale.py"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("model"))


def images(folder: Path, count: int, side: int = 12) -> None:
    for number in range(count):
        pixels = RNG.integers(0, 256, (side, side + number % 3, 3), dtype=np.uint8)
        write_image(folder / f"{number:02d}.png", ImageData(pixels))


def test_a_folder(tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images(tmp_path / "in", 3)
    assert main(["upscale", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "--model", str(checkpoint)]) == 0
    model = Model.load(checkpoint)
    for path in list_images(tmp_path / "in"):
        result = read_image(tmp_path / "out" / path.name).pixels
        np.testing.assert_array_equal(result, model.upscale(path))
    assert "3/3" in capsys.readouterr().err


def test_options_reach_the_pipeline(tmp_path: Path, checkpoint: Path) -> None:
    images(tmp_path, 1)
    out = tmp_path / "out"
    arguments = ["upscale", str(tmp_path / "*.png"), "-o", str(out), "-m", str(checkpoint), "-s", "2", "--tile", "8"]
    arguments += ["--outscale", "1.5", "--self-ensemble", "--format", "jpg", "--quality", "80", "--suffix", "_big"]
    assert main(arguments) == 0
    assert os.listdir(out) == ["00_big.jpg"]
    assert read_image(out / "00_big.jpg").pixels.shape == (18, 18, 3)
    (out / "00_big.jpg").write_bytes(b"kept")
    assert main([*arguments, "--skip-existing"]) == 0
    assert (out / "00_big.jpg").read_bytes() == b"kept"


def test_one_bad_image_of_three(tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images(tmp_path / "in", 3)
    (tmp_path / "in" / "01.png").write_bytes(b"")
    arguments = ["upscale", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-m", str(checkpoint)]
    assert main([*arguments, "--dry-run"]) == 2
    assert not (tmp_path / "out").exists()
    output = capsys.readouterr()
    printed = output.out.splitlines()
    assert len(printed) == 3 and printed[0].endswith("00.png 24x24") and "cannot be read" in printed[1]
    assert "srkd: 1 of 3 images cannot be upscaled" in output.err
    single = [arguments[0], str(tmp_path / "in" / "01.png"), *arguments[2:]]
    for more in ([], ["--dry-run"]):
        assert main([*single, *more]) == 1  # invalid input; 2 is for some of several files
    assert "srkd: " in (error := capsys.readouterr().err) and "01.png: the file is empty" in error
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "failed: " in error and "01.png: the file is empty" in error
    assert "srkd: 1 of 3 images failed, 2 were written" in error
    assert sorted(os.listdir(tmp_path / "out")) == ["00.png", "02.png"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.png"], "missing.png: no such file or folder"),
        (["{in}", "--quality", "200"], "quality must be from 1 to 100"),
        (["{in}", "--quality", "80", "--format", "png"], "png has no quality"),
        (["{in}", "--format", "tga"], "tga can be read but not written"),
        (["{in}", "--format", "psd"], 'unknown image format "psd"'),
        (["{in}", "--tile", "-1"], "tile must be 0"),
        (["{in}", "--outscale", "0"], "the scale must be a positive number"),
        (["{in}", "--device", "abacus"], 'device "abacus" is not available: name auto, cpu, cuda or'),
        (["{in}", "--device", "meta"], 'device "meta" is not available'),
        (["{in}", "--device", "hpu"], 'device "hpu" is not available'),
        (["{in}", "--scale", "3"], "for x2, not x3"),
        (["{in}", "--scale", "-1", "--model", "auto"], "the scale must be a positive number, got -1"),
        (["{in}", "--model", "no_such"], "no_such"),
        (["clip.mp4", "--wrap"], "--wrap is for images"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    images(tmp_path / "in", 1)
    given = [argument.format_map({"in": str(tmp_path / "in")}) for argument in arguments]
    model = [] if "--model" in given else ["--model", str(checkpoint)]
    assert main(["upscale", *given, "-o", str(tmp_path / "out"), *model]) == 1
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_json_and_the_summary(tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images(tmp_path / "in", 2)
    (tmp_path / "in" / "x.psd").write_bytes(b"x")
    whole = (tmp_path / "in" / "01.png").read_bytes()
    (tmp_path / "in" / "01.png").write_bytes(whole[:-60])  # its header is whole
    arguments = ["upscale", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-m", str(checkpoint)]
    assert main([*arguments, "--dry-run"]) == 2
    output = capsys.readouterr()
    assert "cannot be read" in output.out and "1 image would be upscaled" in output.err
    assert main([*arguments, "--json"]) == 2
    output = capsys.readouterr()
    report = json.loads(output.out)
    assert [image["status"] for image in report["images"]] == ["written", "failed"]
    assert [Path(path).name for path in report["left"]] == ["x.psd"]
    assert f"1 image upscaled from {tmp_path / 'in'} to {tmp_path / 'out'}\n1 image failed\n1 file left" in output.err


def test_a_report_that_cannot_be_written_hides_nothing(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images(tmp_path / "in", 1)
    (tmp_path / "file").touch()
    arguments = ["upscale", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-m", str(checkpoint), "--json"]
    assert main([*arguments, "--report", str(tmp_path / "file" / "rows.csv")]) == 1
    output = capsys.readouterr()
    assert [image["status"] for image in json.loads(output.out)["images"]] == ["written"]
    assert "00.png 24x24" in output.err and "rows.csv" in output.err.splitlines()[-1]


def test_an_interruption_leaves_a_record_of_what_was_written(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    images(tmp_path / "in", 4)
    out, rows = tmp_path / "out", tmp_path / "rows.jsonl"
    upscale = Model.upscale_rows

    def interrupted(self: Model, pixels: np.ndarray, *arguments: object) -> Iterator[np.ndarray]:
        if pixels.shape[1] == 14:  # the third
            raise KeyboardInterrupt
        return upscale(self, pixels, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Model, "upscale_rows", interrupted)
    arguments = ["upscale", str(tmp_path / "in"), "-o", str(out), "-m", str(checkpoint), "--json"]
    assert main([*arguments, "--report", str(rows)]) == 130
    output = capsys.readouterr()
    assert sorted(os.listdir(out)) == ["00.png", "01.png"]
    for record in (json.loads(output.out)["images"], [json.loads(line) for line in rows.read_text().splitlines()]):
        assert [(Path(row["target"]).name, row["status"]) for row in record] == [
            ("00.png", "written"),
            ("01.png", "written"),
        ]
    assert "2 images upscaled from" in output.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_leave_whole_files_only(tmp_path: Path, checkpoint: Path, number: signal.Signals) -> None:
    images(tmp_path / "in", 40, side=300)
    command = [sys.executable, str(TOOL), str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-m", str(checkpoint)]
    child = subprocess.Popen([*command, "--tile", "64"], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and len(list((tmp_path / "out").glob("0*.png"))) < 3:
        time.sleep(0.01)
    child.send_signal(number)
    assert child.wait(200) == {signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    written = list((tmp_path / "out").iterdir())
    assert 3 <= len(written) < 40
    for path in written:
        assert read_image(path).pixels.shape[0] == 600


def test_help_is_quick_and_complete(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run(
        [sys.executable, str(TOOL), "--help"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 1  # importing torch takes 2
    for option in (
        "--model",
        "--scale",
        "--tile",
        "--outscale",
        "--self-ensemble",
        "--format",
        "--quality",
        "--suffix",
        "--skip-existing",
        "--dry-run",
        "--recursive",
        "--output",
    ):
        assert option in done.stdout


def test_two_processes_share_a_folder(tmp_path: Path, checkpoint: Path) -> None:
    images(tmp_path / "in", 5)
    command = [sys.executable, str(TOOL), str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-m", str(checkpoint)]
    children = []
    for rank in (0, 1):
        environment = {**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
        children.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    output = [child.communicate()[1] for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert "3/3" in output[0] and "2/2" in output[1]
    assert len(os.listdir(tmp_path / "out")) == 5


def without_output(arguments: list[str], checkpoint: Path | str) -> int:
    return main(["upscale", *arguments, "-m", str(checkpoint), "--runtime", "torch", "--precision", "fp32"])


def test_without_output_the_result_is_beside_the_image(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images(tmp_path, 1)
    photo, before = tmp_path / "00.png", (tmp_path / "00.png").read_bytes()
    for name in ("00_x2.png", "00_x2_2.png", "00_x2_3.png"):
        assert without_output([str(photo)], checkpoint) == 0
        assert f"{photo} 12x12 -> {tmp_path / name} 24x24 by tiny x2, torch fp32\n" in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == ["00.png", "00_x2.png", "00_x2_2.png", "00_x2_3.png"]
    assert photo.read_bytes() == before
    assert without_output([str(photo), "--outscale", "1.5", "--format", "webp"], checkpoint) == 0
    assert read_image(tmp_path / "00_x1.5.webp").pixels.shape == (18, 18, 3)
    assert "by tiny x2 resized to x1.5, torch fp32" in capsys.readouterr().err


def test_without_output_a_folder_becomes_a_folder_beside_it(
    tmp_path: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    images(tmp_path / "in", 2)
    images(tmp_path / "in" / "sub", 1)
    monkeypatch.chdir(tmp_path / "in")
    assert without_output([".", "-r", "--suffix", "_big"], checkpoint) == 0
    assert sorted(p.name for p in (tmp_path / "in_big").rglob("*.png")) == ["00.png", "00.png", "01.png"]
    assert "upscaled by tiny x2, torch fp32\n" in capsys.readouterr().err
    assert without_output([str(tmp_path / "in")], checkpoint) == 0
    assert without_output([str(tmp_path / "in")], checkpoint) == 0
    assert sorted(os.listdir(tmp_path)) == ["in", "in_big", "in_x2", "in_x2_2"]


def test_without_output_what_exists_is_skipped(tmp_path: Path, checkpoint: Path) -> None:
    images(tmp_path, 2)
    for _ in range(2):
        assert without_output([str(tmp_path / "*.png"), "--skip-existing"], checkpoint) == 0
        assert sorted(os.listdir(tmp_path)) == ["00.png", "00_x2.png", "01.png", "01_x2.png"]


def test_a_missing_image_is_reported_before_the_model_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["upscale", str(tmp_path / "none.png"), "-m", "no_such"]) == 1
    assert capsys.readouterr().err == f"srkd: {tmp_path / 'none.png'}: no such file or folder\n"


@pytest.mark.parametrize(
    ("scale", "words"),
    [
        (2, "by edsr_16x8_x2_cc0 x2 (licence: CC0 1.0, as the photographs it was trained on), torch fp32"),
        (3, "by edsr_16x8_x3 x3 (licence: research use, as the training images), torch fp32"),
        (4, "by edsr_16x8_x4 x4 (licence: research use, as the training images), torch fp32"),
    ],
)
def test_every_scale_has_a_default_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], scale: int, words: str
) -> None:
    images(tmp_path, 1)
    assert without_output([str(tmp_path / "00.png"), "--scale", str(scale)], "auto") == 0
    assert words in capsys.readouterr().err
    assert read_image(tmp_path / f"00_x{scale}.png").pixels.shape[0] == 12 * scale


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        ("1.5", "by edsr_16x8_x2_cc0 x2 resized to x1.5 ("),
        ("2", "by edsr_16x8_x2_cc0 x2 ("),
        ("2.5", "by edsr_16x8_x3 x3 resized to x2.5 ("),
        ("4", "by edsr_16x8_x4 x4 ("),
        ("5", "by edsr_16x8_x4 x4 resized to x5 ("),
    ],
)
def test_a_final_scale_alone_chooses_the_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], factor: str, words: str
) -> None:
    images(tmp_path, 1)
    assert without_output([str(tmp_path / "00.png"), "--outscale", factor], "auto") == 0
    assert words in capsys.readouterr().err
    assert read_image(tmp_path / f"00_x{factor}.png").pixels.shape[0] == round(12 * float(factor))


@pytest.mark.parametrize("scale", ["1", "5"])
def test_a_scale_without_a_model_says_what_can_be_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], scale: str
) -> None:
    images(tmp_path, 1)
    assert main(["upscale", str(tmp_path / "00.png"), "-s", scale]) == 1
    error = capsys.readouterr().err
    assert f"no default model for x{scale}: they exist for x2, x3, x4; add --outscale {scale}" in error
    assert error.count("\n") == 1 and os.listdir(tmp_path) == ["00.png"]
