"""`srkd upscale`, data sets and checkpoints in an object store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import srkd
from srkd.cli.main import main
from srkd.data.sets import open_set
from srkd.errors import SrkdError
from srkd.files import remote
from srkd.files.remote import Url
from srkd.images.read import read_image
from srkd.inference.files import Options, upscale_files
from srkd.inference.jobs import Job, plan_jobs
from srkd.networks import zoo
from srkd.studies.plan import Study, Variant
from srkd.studies.runs import Comparison
from srkd.training.run import Run

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
STUDY = Study(name="tiny", base={}, variants=[Variant(name="control", losses=[])])
TORCH = ["--runtime", "torch", "--precision", "fp32"]


def put(s3: Any, folder: Path, prefix: str) -> None:
    for path in sorted(folder.iterdir()):
        s3.put_object(Bucket="photos", Key=f"{prefix}/{path.name}", Body=path.read_bytes())


def keys(s3: Any, prefix: str) -> list[str]:
    return [entry["Key"] for entry in s3.list_objects_v2(Bucket="photos", Prefix=prefix).get("Contents", [])]


def test_upscaling_from_bucket_to_bucket(
    s3: Any, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(s3, photos, "in")
    s3.put_object(Bucket="photos", Key="in/broken.png", Body=b"\x89PNG\r\n\x1a\nno more")
    command = ["upscale", "s3://photos/in", "-o", "s3://photos/out", *TORCH]
    assert main([*command, "--json"]) == 2  # one image failed, the others were written
    images = json.loads(capsys.readouterr().out)["images"]
    assert {image["source"]: image["status"] for image in images} == {
        **{f"s3://photos/in/p{number}.png": "written" for number in range(4)},
        "s3://photos/in/broken.png": "failed",
    }
    assert keys(s3, "out") == [f"out/p{number}.png" for number in range(4)]
    assert main(["upscale", str(photos), "-o", str(tmp_path / "out"), *TORCH]) == 0
    assert s3.get_object(Bucket="photos", Key="out/p1.png")["Body"].read() == (tmp_path / "out/p1.png").read_bytes()
    s3.delete_object(Bucket="photos", Key="in/broken.png")
    s3.delete_object(Bucket="photos", Key="out/p2.png")
    capsys.readouterr()
    assert main([*command, "--skip-existing"]) == 0
    assert "3 images skipped" in capsys.readouterr().err and "out/p2.png" in keys(s3, "out")


def test_checkpoints_and_data_sets(s3: Any, photos: Path) -> None:
    put(s3, photos, "sets/HR")
    weights = zoo.weights("edsr_16x8_x2_cc0")[0]
    s3.put_object(Bucket="photos", Key="student.safetensors", Body=weights.read_bytes())
    model = srkd.load("s3://photos/student.safetensors")
    assert model.scale == 2 and model.parameters == srkd.load("edsr_16x8_x2_cc0").parameters
    for name in ("s3://photos/sets", "s3://photos/sets/HR"):
        found, store = open_set(name, 2)
        assert (found, len(store)) == ("sets", 4)
    with pytest.raises(SrkdError, match="p0"):  # its LR image has the size of the HR image
        open_set("s3://photos/sets/HR:s3://photos/sets/HR", 2)


def test_a_bucket_without_permission(s3: Any, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(s3, photos, "in")
    jobs = plan_jobs(["s3://photos/in/p0.png"], Url("s3://closed/out"))
    with pytest.raises(Exception, match="no permission; check the credentials"):
        outcomes: list[Any] = []
        upscale_files(srkd.load("edsr_16x8_x2_cc0"), jobs, Options(), print, lambda _: None, outcomes)
    assert "s3://closed/out/p0.png: no permission" in outcomes[0].error
    with pytest.raises(SrkdError, match=r"s3://closed/a.png: no permission"):
        remote.read("s3://closed/a.png")
    assert main(["upscale", "s3://no-such-bucket/in", "-o", str(tmp_path)]) == 1
    assert "s3://no-such-bucket/in: no such" in capsys.readouterr().err


def test_a_listing_without_permission(refusing: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["upscale", "s3://photos/in", "-o", str(tmp_path / "out")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("srkd: s3://photos/in: no permission; check the credentials")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "line",
    [
        ["train", "-opt", "recipe.yml", "--output", "s3://photos/runs"],
        ["compare", "study.yml", "--output", "s3://photos/runs"],
        ["compress", "edsr_16x8_x2_cc0", "--data", "in", "--max-ms", "9", "-o", "s3://photos/out"],
        ["evaluate", "--model", "bicubic", "--data", "in", "--output", "memory://scores"],
        ["prune", "edsr_16x8_x2_cc0", "--keep", "0.5", "-o", "s3://photos/half.safetensors"],
    ],
)
def test_only_images_are_written_by_url(
    line: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(line) == 1
    (message,) = capsys.readouterr().err.splitlines()
    assert f"{line[-1]}: only images are written by URL; choose a local folder" in message
    assert not list(tmp_path.iterdir())


def test_runs_are_written_to_local_folders(recipe: dict[str, Any], tmp_path: Path) -> None:
    for started in (lambda: Run(recipe, "s3://photos/runs"), lambda: Comparison(STUDY, "s3://photos/runs")):
        with pytest.raises(SrkdError, match="s3://photos/runs: only images are written by URL"):
            started()


def test_a_listing_that_changes_while_it_is_read(s3: Any, photos: Path, tmp_path: Path) -> None:
    put(s3, photos, "in")
    jobs = plan_jobs(["s3://photos/in"], tmp_path / "out")
    s3.delete_object(Bucket="photos", Key="in/p0.png")
    s3.put_object(Bucket="photos", Key="in/late.png", Body=(photos / "p1.png").read_bytes())
    outcomes: list[Any] = []
    with pytest.raises(SrkdError, match="1 of 4 images failed, 3 were written"):
        upscale_files(srkd.load("edsr_16x8_x2_cc0"), jobs, Options(), print, lambda _: None, outcomes)
    failed = [outcome.error for outcome in outcomes if outcome.status == "failed"]
    assert failed == ["s3://photos/in/p0.png: no such file, folder or bucket"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["p1.png", "p2.png", "p3.png"]


def test_no_server(monkeypatch: pytest.MonkeyPatch, s3: Any, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(SrkdError, match=r"s3://photos/in: .*127.0.0.1:9"):
        plan_jobs(["s3://photos/in"], tmp_path / "out")


def test_output_names(tmp_path: Path) -> None:
    remote.write("memory://in/a.gif", b"x")
    remote.write("memory://in/b.jpg", b"x")
    out = Url("memory://in/large")
    remote.write("memory://in/large/b.jpg", b"x")
    assert plan_jobs(["memory://in"], out, recursive=True) == [
        Job(Url("memory://in/a.gif"), out / "a.png", "png"),
        Job(Url("memory://in/b.jpg"), out / "b.jpg", "jpeg"),
    ]
    with pytest.raises(SrkdError, match="would be overwritten"):
        plan_jobs(["memory://in/b.jpg"], Url("memory://in"))
    assert main(["upscale", "memory://in/b.jpg"]) == 1


def test_pixels_are_those_of_the_local_file(photos: Path) -> None:
    remote.write("memory://in/p0.png", (photos / "p0.png").read_bytes())
    assert (read_image("memory://in/p0.png").pixels == read_image(photos / "p0.png").pixels).all()
