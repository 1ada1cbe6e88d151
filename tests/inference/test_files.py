from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from torch import nn

from srkd.errors import PartialFailure, SrkdError
from srkd.images.animation import open_animation, open_animation_writer
from srkd.images.formats import FORMATS
from srkd.images.icc import of_png
from srkd.images.metadata import Metadata
from srkd.images.read import ImageData, image_size, read_image, write_image
from srkd.inference.files import Options, preview, share, upscale_files, upscale_observed
from srkd.inference.jobs import Job, line, plan_jobs
from srkd.inference.model import Model
from srkd.networks import build

RNG = np.random.default_rng(0)
DOUBLE = Model(nn.Upsample(scale_factor=2), 2)
SAME = Model(nn.Identity(), 1)


def noise(channels: int = 3, dtype: type = np.uint8, height: int = 20, width: int = 14) -> np.ndarray:
    return RNG.integers(1, np.iinfo(dtype).max + 1, (height, width, channels), dtype=dtype)


def do(model: Model, jobs: list[Job], **options: object) -> tuple[list[str], int]:
    said: list[str] = []
    try:
        return said, upscale_files(model, jobs, Options(**options), said.append, lambda n: None)  # type: ignore[arg-type]
    except PartialFailure as error:
        return [*said, str(error)], -1


HELD = [
    (f.name, channels, dtype)
    for f in FORMATS.values()
    for channels in (1, 2, 3, 4)
    for dtype in (np.uint8, np.uint16)
    if (f.alpha or channels in (1, 3)) and (f.colour or channels < 3) and (f.deep or dtype == np.uint8)
    if not f.palette
]


@pytest.mark.parametrize(("name", "channels", "dtype"), HELD)
def test_round_trip_through_an_identity(tmp_path: Path, name: str, channels: int, dtype: type) -> None:
    pixels = noise(channels, dtype)
    pytest.importorskip({"jxl": "pillow_jxl", "heic": "pillow_heif"}.get(name, "PIL"))
    quality = 100 if name in ("webp", "jxl", "heic", "jp2") else None
    source = Job(tmp_path / f"a.{name}", tmp_path / f"b.{name}", name)
    write_image(source.source, ImageData(pixels, metadata=Metadata(dpi=(300, 300))), quality=quality)
    assert do(SAME, [source], quality=quality, tile=8) == ([], 1)
    before, after = read_image(source.source), read_image(source.target)
    assert after.pixels.dtype == dtype
    difference = np.abs(after.pixels.astype(int) - before.pixels)
    assert difference.mean() < 3 if name in ("jpeg", "avif") else difference.max() == 0
    assert after.metadata == before.metadata


def test_orientation_profile_and_exif_survive(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    exif[0x8769] = {0xA002: 14, 0xA003: 20}
    icc = b"not a true profile, but carried as it is"
    Image.fromarray(noise()).save(tmp_path / "a.jpg", exif=exif, icc_profile=icc, quality=95)
    for name, suffix in (("png", "png"), ("jpeg", "jpg"), ("tiff", "tif"), ("webp", "webp")):
        target = tmp_path / f"b.{suffix}"
        assert do(DOUBLE, [Job(tmp_path / "a.jpg", target, name)], quality=100)[1] == 1
        back = read_image(target)
        assert back.pixels.shape == (28, 40, 3)
        assert back.metadata.icc == icc
        kept = Image.Exif()
        kept.load(back.metadata.exif or b"")
        assert (kept.get(0x0112, 1), kept[0x010F]) == (1, "Maker")
        assert (kept.get_ifd(0x8769)[0xA002], kept.get_ifd(0x8769)[0xA003]) == (40, 28)


def test_alpha_into_a_format_without(tmp_path: Path) -> None:
    opaque, clear = noise(4), noise(4)
    opaque[..., 3] = 255
    write_image(tmp_path / "opaque.png", ImageData(opaque))
    write_image(tmp_path / "clear.png", ImageData(clear))
    jobs = plan_jobs([str(tmp_path)], tmp_path / "out", format="jpeg")
    planned = [line(outcome) for outcome in preview(jobs, 1, Options())]
    assert planned[0].startswith("cannot be written: ") and "jpeg does not support transparency" in planned[0]
    said, _ = do(SAME, jobs)
    assert said[0].startswith("failed:") and "clear.jpg: jpeg does not support transparency; choose png" in said[0]
    np.testing.assert_allclose(read_image(tmp_path / "out" / "opaque.jpg").pixels, opaque[..., :3], atol=40)
    assert os.listdir(tmp_path / "out") == ["opaque.jpg"]


def test_depth_that_is_lost_is_said(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", ImageData(noise(3, np.uint16)))
    said, written = do(SAME, plan_jobs([str(tmp_path)], tmp_path / "out", format="jpeg"))
    assert written == 1
    assert said == [f"{tmp_path / 'a.png'}: 16 bits rounded to the 8 of jpeg"]


def broken(number: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(noise(height=40, width=40)).save(stream, "PNG")
    whole = stream.getvalue()
    kinds = (b"", whole[:200], b"<html>not found</html>", whole[:60] + b"\0" * 40 + whole[100:], b"\xff\xd8\xff")
    return kinds[number % len(kinds)]


def test_many_images_of_which_some_are_broken(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Model(build({"type": "EDSR", "num_feat": 4, "num_block": 1, "upscale": 2}).eval(), 2)
    bad = []
    for number in range(60):
        path = tmp_path / "in" / f"{number:03d}.{('png', 'jpg', 'webp', 'tif', 'bmp')[number % 5]}"
        write_image(path, ImageData(noise((1, 3)[number % 2], height=8 + number % 7, width=9)))
        if number % 12 == 5:
            path.write_bytes(broken(number // 12))
            bad.append(path)
    said, _ = do(model, plan_jobs([str(tmp_path / "in")], tmp_path / "out"))
    assert said[-1] == "5 of 60 images failed, 55 were written"
    failed = [line for line in said if line.startswith("failed: ")]
    assert [line.split(": ")[1] for line in failed] == [str(path) for path in bad]
    assert not any("\n" in line for line in said)
    written = sorted((tmp_path / "out").iterdir())
    assert len(written) == 55
    for path in written:
        source = read_image(tmp_path / "in" / path.name)
        if path.suffix in (".png", ".tif", ".bmp"):
            np.testing.assert_array_equal(read_image(path).pixels, model.upscale(source.pixels))


def test_an_error_of_the_network_spoils_one_image_only(tmp_path: Path) -> None:
    class Choosy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.shape[-1] == 14:
                raise RuntimeError("cannot do\n14 columns")
            return x

    for name, width in (("a", 14), ("b", 15)):
        write_image(tmp_path / f"{name}.png", ImageData(noise(width=width)))
    said, _ = do(Model(Choosy(), 1), plan_jobs([str(tmp_path)], tmp_path / "out"), tile=0)
    assert said[0] == f"failed: {tmp_path / 'a.png'}: RuntimeError: cannot do 14 columns"
    assert os.listdir(tmp_path / "out") == ["b.png"]


def test_one_image_with_progress_that_may_stop_it(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", ImageData(noise(height=40)))
    shares: list[float] = []
    sizes: list[tuple[int, ...]] = []
    job = Job(tmp_path / "a.png", tmp_path / "b.png", "png")
    outcome = upscale_observed(DOUBLE, job, Options(tile=10), lambda pixels: sizes.append(pixels.shape), shares.append)
    assert (outcome.status, outcome.size, outcome.backend) == ("written", ((40, 14), (80, 28)), "torch fp32")
    assert sizes == [(40, 14, 3)] and shares == [0.25, 0.5, 0.75, 1.0]
    do(DOUBLE, [Job(tmp_path / "a.png", tmp_path / "c.png", "png")])
    np.testing.assert_array_equal(read_image(tmp_path / "b.png").pixels, read_image(tmp_path / "c.png").pixels)

    def stop(share: float) -> None:
        raise KeyError("stopped")

    with pytest.raises(KeyError):
        upscale_observed(
            DOUBLE, Job(job.source, tmp_path / "d.png", "png"), Options(tile=10), lambda pixels: None, stop
        )
    assert sorted(os.listdir(tmp_path)) == ["a.png", "b.png", "c.png"]


def test_skipping_and_preview(tmp_path: Path) -> None:
    for name in "ab":
        write_image(tmp_path / f"{name}.png", ImageData(noise()))
    (tmp_path / "c.png").write_bytes(b"")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").write_bytes(b"kept")
    jobs = plan_jobs([str(tmp_path)], tmp_path / "out")
    lines = [line(outcome) for outcome in preview(jobs, 2, Options(skip_existing=True))]
    assert lines[0] == f"skip {tmp_path}/out/a.png: exists"
    assert lines[1] == f"{tmp_path}/b.png 14x20 -> {tmp_path}/out/b.png 28x40"
    assert lines[2] == f"cannot be read: {tmp_path}/c.png: the file is empty"
    said, _ = do(DOUBLE, jobs, skip_existing=True)
    assert said[-1] == "1 of 3 images failed, 1 were written"
    assert (tmp_path / "out" / "a.png").read_bytes() == b"kept"


def test_processes_share_the_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [Job(Path(f"{i}.png"), Path(f"o{i}.png"), "png") for i in range(7)]
    parts = []
    monkeypatch.setenv("WORLD_SIZE", "3")
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        parts.append(share(jobs))
    assert sorted(job.source for part in parts for job in part) == sorted(job.source for job in jobs)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_bad_options_are_refused_at_once() -> None:
    with pytest.raises(SrkdError, match="tile must be"):
        Options(tile=-3)
    with pytest.raises(SrkdError, match="the scale must be"):
        Options(outscale=0.0)


def test_large_images_do_not_fill_memory(tmp_path: Path) -> None:
    # 36 megapixels of result are 108 MB as bytes and 432 MB as floats. A process of its own, since peaks never go back.
    code = """
import resource, sys
from pathlib import Path
from torch import nn
from srkd.inference.files import Options, upscale_files
from srkd.inference.model import Model
from srkd.inference.jobs import Job
folder, model = Path(sys.argv[1]), Model(nn.Upsample(scale_factor=4), 4)
peaks = []
for name in ("small", "large"):
    jobs = [Job(folder / f"{name}.png", folder / f"{name}_x4.png", "png")]
    assert upscale_files(model, jobs, Options(tile=256), print, lambda n: None) == 1
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
print(peaks[1] - peaks[0])
"""
    for name, side in (("small", 256), ("large", 1500)):
        write_image(
            tmp_path / f"{name}.png", ImageData(np.tile(noise(height=100, width=100), (15, 15, 1))[:side, :side])
        )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert image_size(tmp_path / "large_x4.png") == (6000, 6000)
    assert int(done.stdout) < 150


def test_what_a_format_cannot_hold_is_said_in_one_line(tmp_path: Path) -> None:
    meta = Metadata(dpi=(300, 300), comment=b"words", exif=b"Exif\0\0II*\0\x08\0\0\0" + bytes(6))
    write_image(tmp_path / "a.jpg", ImageData(noise(), metadata=meta))
    Image.fromarray(noise()).save(tmp_path / "b.gif")
    said, written = do(SAME, plan_jobs([str(tmp_path)], tmp_path / "out", format="bmp"))
    assert written == 2
    assert said == [
        f"{tmp_path / 'a.jpg'}: bmp cannot store its EXIF, comment",
        f"{tmp_path / 'b.gif'}: gif has at most 256 colours: saved as bmp",
    ]


def test_lossless_webp_stays_lossless(tmp_path: Path) -> None:
    pixels = noise()
    write_image(tmp_path / "a.webp", ImageData(pixels), quality=100)
    job = Job(tmp_path / "a.webp", tmp_path / "b.webp", "webp")
    assert do(SAME, [job]) == ([], 1)
    np.testing.assert_array_equal(read_image(job.target).pixels, pixels)
    assert do(SAME, [job], quality=50) == ([], 1)
    assert not np.array_equal(read_image(job.target).pixels, pixels)


def test_an_error_of_any_kind_is_one_image_and_not_the_batch(tmp_path: Path) -> None:
    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.shape[-1] == 14:
                raise KeyError("14")
            return x

    for name, width in (("a", 14), ("b", 15)):
        write_image(tmp_path / f"{name}.png", ImageData(noise(width=width)))
    said, _ = do(Model(Odd(), 1), plan_jobs([str(tmp_path)], tmp_path / "out"), tile=0)
    assert said == [f"failed: {tmp_path / 'a.png'}: KeyError: '14'", "1 of 2 images failed, 1 were written"]


def test_jpeg_xl_is_written_in_srgb(tmp_path: Path) -> None:
    pytest.importorskip("pillow_jxl")
    pixels = noise()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    primaries = struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)
    wide = of_png(struct.pack(">I", 45455), primaries, None, False)
    job = Job(tmp_path / "a.png", tmp_path / "a.jxl", "jxl")
    for profile, notes in ((srgb, []), (wide, ["colours converted to sRGB: jxl is written without a colour profile"])):
        write_image(job.source, ImageData(pixels, metadata=Metadata(icc=profile)))
        assert do(SAME, [job], quality=100) == ([f"{job.source}: {note}" for note in notes], 1)
        same = np.array_equal(read_image(job.target).pixels, pixels)
        assert same is (profile is srgb)


def test_notes_name_the_bits_that_are_kept(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif")
    write_image(tmp_path / "a.png", ImageData(noise(3, np.uint16)))
    for name, notes in (("heic", ["16 bits rounded to the 12 of heic"]), ("jp2", [])):
        job = Job(tmp_path / "a.png", tmp_path / f"a.{name}", name)
        assert do(SAME, [job]) == ([f"{job.source}: {note}" for note in notes], 1)
        again = Job(job.target, tmp_path / f"b.{name}", name)
        assert do(SAME, [again]) == ([], 1)
        assert read_image(again.target).pixels.dtype == np.uint16


def animated(path: Path, count: int = 3) -> Path:
    """Frames of few colours, the second as the first."""
    frames = [np.full((8, 10, 3), 20 * max(1, n), np.uint8) for n in range(count)]
    frames[-1][2:5, 3:6] = 7
    timing = [Fraction(n + 1, 10) for n in range(count)], 2
    with open_animation_writer(path, (8, 10, 3), timing, path.suffix[1:], 100) as writer:
        for frame in frames:
            writer.write(frame)
    return path


@pytest.mark.parametrize(("source", "target"), [("gif", "gif"), ("gif", "png"), ("png", "webp"), ("webp", "gif")])
def test_animations_are_upscaled_frame_by_frame(
    tmp_path: Path, source: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, upscale = [], Model.upscale_rows
    monkeypatch.setattr(Model, "upscale_rows", lambda *given: (calls.append(1), upscale(*given))[1])
    job = Job(animated(tmp_path / f"a.{source}"), tmp_path / f"b.{target}", target)
    assert do(DOUBLE, [job], quality=100 if target == "webp" else None) == ([], 1)
    before, after = open_animation(job.source), open_animation(job.target)
    assert before is not None and after is not None and len(calls) == 2  # equal frames are computed once
    assert (after.durations, after.plays, after.format) == (before.durations, 2, target)
    for small, large in zip(before.frames(), after.frames(), strict=True):
        np.testing.assert_array_equal(large, DOUBLE.upscale(small))


def test_animations_that_cannot_be_stored(tmp_path: Path) -> None:
    source = animated(tmp_path / "a.gif")
    with pytest.raises(
        SrkdError, match=r"a\.gif: an animation of 3 frames, and jpeg stores one image; choose png, webp"
    ):
        do(DOUBLE, [Job(source, tmp_path / "b.jpg", "jpeg")])
    assert [o.status for o in preview([Job(source, tmp_path / "b.gif", "gif")], 2, Options())] == ["planned"]
    assert os.listdir(tmp_path) == ["a.gif"]


def test_an_interrupted_animation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, seen = animated(tmp_path / "a.gif", 9), []

    def interrupted(*given: object) -> object:
        seen.append(1)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return iter([np.zeros((16, 20, 3), np.uint8)])

    monkeypatch.setattr(Model, "upscale_rows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        do(DOUBLE, [Job(source, tmp_path / "b.gif", "gif")])
    assert os.listdir(tmp_path) == ["a.gif"]


def test_a_gif_stays_a_gif_if_it_moves(tmp_path: Path) -> None:
    Image.fromarray(noise()).save(tmp_path / "still.gif")
    animated(tmp_path / "moves.gif")
    jobs = plan_jobs([str(tmp_path / "*.gif")], tmp_path / "out")
    assert [(job.target.name, job.format) for job in jobs] == [("moves.gif", "gif"), ("still.png", "png")]
    (again,) = plan_jobs([str(tmp_path / "still.gif")], tmp_path / "x.gif")
    texts, written = do(SAME, [again])
    assert written == 1 and not texts and read_image(again.target).pixels.shape[:2] == (20, 14)
