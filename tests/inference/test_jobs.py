from __future__ import annotations

import os
from pathlib import Path

import pytest

from srkd.errors import SrkdError
from srkd.inference.jobs import Job, Outcome, plan_jobs, summary, unrecognised_files


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def targets(jobs: list[Job], below: Path) -> list[str]:
    return [os.path.relpath(job.target, below) for job in jobs]


def test_names_suffixes_and_formats(tmp_path: Path) -> None:
    touch(*(tmp_path / "in" / name for name in ("a.PNG", "b.jpg", "c.tif", "note.txt", ".hidden.png")))
    out = tmp_path / "out"
    jobs = plan_jobs([str(tmp_path / "in")], out)
    assert targets(jobs, out) == ["a.PNG", "b.jpg", "c.tif"]
    assert [job.format for job in jobs] == ["png", "jpeg", "tiff"]
    jobs = plan_jobs([str(tmp_path / "in")], out, format="jpg", suffix="_x2")
    assert targets(jobs, out) == ["a_x2.jpg", "b_x2.jpg", "c_x2.jpg"]
    assert {job.format for job in jobs} == {"jpeg"}


def test_one_file_may_name_its_output(tmp_path: Path) -> None:
    touch(tmp_path / "a.png", tmp_path / "raw")
    assert plan_jobs([str(tmp_path / "a.png")], tmp_path / "b.webp") == [
        Job(tmp_path / "a.png", tmp_path / "b.webp", "webp")
    ]
    assert plan_jobs([str(tmp_path / "raw")], tmp_path / "out") == [
        Job(tmp_path / "raw", tmp_path / "out/raw.png", "png")
    ]
    (tmp_path / "c.png").mkdir()
    assert plan_jobs([str(tmp_path / "a.png")], tmp_path / "c.png")[0].target == tmp_path / "c.png" / "a.png"


def test_a_misspelt_output_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(SrkdError, match=r'out\.pgn: unknown image format "\.pgn" .*; if it is to be'):
        plan_jobs([str(tmp_path / "a.png")], tmp_path / "out.pgn")
    for name in ("x4.2", "photos", "with.attention"):
        assert targets(plan_jobs([str(tmp_path / "a.png")], tmp_path / name), tmp_path) == [f"{name}/a.png"]
    assert targets(plan_jobs([str(tmp_path)], tmp_path / "out.old"), tmp_path) == ["out.old/a.png"]  # of a folder
    (tmp_path / "out.pgn").mkdir()
    assert targets(plan_jobs([str(tmp_path / "a.png")], tmp_path / "out.pgn"), tmp_path) == ["out.pgn/a.png"]


def test_recursion_keeps_folders_and_survives_loops(tmp_path: Path) -> None:
    touch(tmp_path / "in" / "a.png", tmp_path / "in" / "x" / "a.png", tmp_path / "in" / "x" / "y" / "b.png")
    (tmp_path / "in" / "x" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "self.png").symlink_to("self.png")
    out = tmp_path / "out"
    assert targets(plan_jobs([str(tmp_path / "in")], out), out) == ["a.png", "self.png"]
    (tmp_path / "in" / "self.png").unlink()
    assert targets(plan_jobs([str(tmp_path / "in")], out, recursive=True), out) == ["a.png", "x/a.png", "x/y/b.png"]


def test_globs_and_repetitions(tmp_path: Path) -> None:
    touch(*(tmp_path / name for name in ("a.png", "b.png", "c.jpg", "d[1].png")))
    out = tmp_path / "out"
    jobs = plan_jobs([str(tmp_path / "*.png"), str(tmp_path / "a.png"), str(tmp_path / "./b.png")], out)
    assert targets(jobs, out) == ["a.png", "b.png", "d[1].png"]
    assert targets(plan_jobs([str(tmp_path / "d[1].png")], out), out) == ["d[1].png"]


def test_output_inside_the_input_is_no_input(tmp_path: Path) -> None:
    touch(tmp_path / "a.png", tmp_path / "out" / "a.png", tmp_path / "sub" / "b.png")
    out = tmp_path / "out"
    assert targets(plan_jobs([str(tmp_path)], out, recursive=True), out) == ["a.png", "sub/b.png"]
    assert targets(plan_jobs([str(tmp_path / "sub")], tmp_path), tmp_path) == ["b.png"]  # the input inside the output
    with pytest.raises(SrkdError, match="is an input folder"):
        plan_jobs([str(tmp_path)], tmp_path, suffix="_x2")


def test_two_inputs_with_one_output_are_refused(tmp_path: Path) -> None:
    touch(tmp_path / "x" / "a.png", tmp_path / "y" / "a.png", tmp_path / "x" / "a.jpg")
    with pytest.raises(SrkdError, match=r"x/a\.png and .*y/a\.png would both become .*out/a\.png"):
        plan_jobs([str(tmp_path / "x" / "a.png"), str(tmp_path / "y")], tmp_path / "out")
    with pytest.raises(SrkdError, match=r"would both become .*; upscale them into different folders$"):
        plan_jobs([str(tmp_path / "x")], tmp_path / "out", format="png")


def test_an_input_is_not_overwritten(tmp_path: Path) -> None:
    touch(tmp_path / "a.png", tmp_path / "b.png")
    for output in (tmp_path / "a.png", tmp_path, tmp_path / "." / "a.png"):
        with pytest.raises(SrkdError, match="would be overwritten"):
            plan_jobs([str(tmp_path / "a.png")], output)
    assert plan_jobs([str(tmp_path / "a.png")], tmp_path, suffix="_x2")[0].target == tmp_path / "a_x2.png"
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(SrkdError, match="would be overwritten"):
        plan_jobs([str(tmp_path / "a.png")], tmp_path / "link")


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SrkdError, match="no such file or folder"):
        plan_jobs([str(tmp_path / "none.png")], tmp_path / "out")
    with pytest.raises(SrkdError, match="no image or folder matches"):
        plan_jobs([str(tmp_path / "*.png")], tmp_path / "out")
    with pytest.raises(SrkdError, match="no images"):
        plan_jobs([str(tmp_path)], tmp_path / "out")


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.png")
    touch(Path(odd))
    (job,) = plan_jobs([str(tmp_path)], tmp_path / "out", suffix="_x2")
    assert os.fsencode(job.target).endswith(b"/out/\xff\xfe_x2.png")


@pytest.mark.parametrize("suffix", ["/../../x", "/x", "a\\b", "\n", "\x1b[2J"])
def test_a_suffix_stays_in_the_output_folder(suffix: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(SrkdError, match="the suffix"):
        plan_jobs([str(tmp_path / "a.png")], tmp_path / "out", suffix=suffix)


def test_formats_that_are_only_read_become_png(tmp_path: Path) -> None:
    names = ("a.gif", "a.png", "b.AVIF", "c.jfif", "d.tga", "e.HIF", "f.j2k", "g.pbm")
    touch(*(tmp_path / "in" / name for name in names))
    out = tmp_path / "out"
    jobs = plan_jobs([str(tmp_path / "in")], out)
    assert targets(jobs, out) == ["a.gif.png", "a.png", "b.AVIF", "c.jfif", "d.png", "e.heic", "f.jp2", "g.png"]
    assert [job.format for job in jobs] == ["png", "png", "avif", "jpeg", "png", "heic", "jp2", "png"]
    assert targets(plan_jobs([str(tmp_path / "in" / "a.gif")], out), out) == ["a.png"]


@pytest.mark.parametrize(
    ("name", "format"),
    [("jpg", "jpg"), ("JPG", "JPEG"), ("tif", "tif"), ("TIFF", "TIF"), ("PNG", "PNG"), ("jfif", "jpeg")],
)
def test_a_file_as_output_with_its_format(tmp_path: Path, name: str, format: str) -> None:
    touch(tmp_path / "a.png")
    (job,) = plan_jobs([str(tmp_path / "a.png")], tmp_path / f"b.{name}", format)
    assert job.format == {"j": "jpeg", "t": "tiff", "p": "png"}[format[0].lower()]
    assert job.target == tmp_path / f"b.{name}"


@pytest.mark.parametrize(
    ("output", "format", "words"),
    [
        ("two.png", None, "named like a file, but there are 2 images"),
        ("x.tga", None, "tga can be read but not written"),
        ("x.j2k", None, "jp2 is written as .jp2, not .j2k; name it so"),
        ("x.psd", None, 'unknown image format ".psd"'),
        ("x.png", "jpg", "named like png, but the requested format is"),
    ],
)
def test_outputs_that_are_no_folder_and_no_file_to_be_had(
    tmp_path: Path, output: str, format: str | None, words: str
) -> None:
    touch(tmp_path / "a.png", tmp_path / "b.png")
    inputs = [str(tmp_path / "a.png"), str(tmp_path / "b.png")][: 2 if output == "two.png" else 1]
    with pytest.raises(SrkdError, match=words):
        plan_jobs(inputs, tmp_path / output, format)
    assert not (tmp_path / output).exists()


def test_files_that_are_left_are_known(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    touch(*(folder / name for name in ("a.png", "b.psd", ".hidden", "sub/c.txt", "out/d.txt")))
    assert unrecognised_files([str(folder)], folder / "out") == [folder / "b.psd"]
    assert unrecognised_files([str(folder)], folder / "out", recursive=True) == [
        folder / "b.psd",
        folder / "sub/c.txt",
    ]
    in_glob = [folder / name for name in ("b.psd", "out/d.txt", "sub/c.txt")]
    assert unrecognised_files([str(folder / "*")], tmp_path / "out") == in_glob
    assert unrecognised_files([str(folder / "a.png"), str(folder / "b.psd")], folder / "out") == []


def test_the_line_of_a_single_planned_image_is_not_repeated_as_a_count() -> None:
    job, other = Job(Path("a.png"), Path("a_x2.png"), "png"), Job(Path("b.png"), Path("b_x2.png"), "png")
    planned = [Outcome(each, "planned", ((4, 6), (8, 12))) for each in (job, other)]
    assert list(summary(planned[:1], [Path("notes.txt")])) == [
        "1 file left, not named like an image that is read: 1 .txt"
    ]
    assert list(summary(planned, [])) == ["2 images would be upscaled from . to ."]
