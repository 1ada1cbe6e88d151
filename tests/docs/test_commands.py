"""Run all command lines of README and docs, in order, each page in its own folder, on small data; or state why not."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import nn

from srkd.cli.main import main
from srkd.data import manifests, preparation
from srkd.inference import calibration
from srkd.integrations.torchvision_compat import import_torchvision
from srkd.networks import zoo

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
HOURS = "trains and measures for the whole --time; only its dry run is tested"
SERVES = "runs until it is interrupted: tests/serve/test_server.py, tests/serve/test_watch.py"
WHEEL = "of the other package: tests/test_upscale_wheel.py, and make check-wheel in an environment of its own"
REQUEST = "a request to a running server: tests/serve/test_app.py"

RAY = "starts a cluster: tests/cluster/test_ray.py, tests/cluster/test_executor.py"

# Arguments added to a line to shorten it, or a text: the reason why the line is not run.
LINES: dict[str, list[str] | str] = {
    "make demo": "the demonstration: tests/commands/test_demo.py runs a small one",
    "make test": "this suite",
    "pip install .": "an installation, which downloads",
    "pip install .[deploy,fast,report,teachers]": "an installation, which downloads",
    ". /path/to/srkd/.venv/bin/activate": "the shell's, of a checkout's environment",
    "python -m pytest tests/losses/test_every_loss.py -k gram": "of a loss that the page writes: test_written.py",
    "srkd --version": [],
    "srkd doctor": [],
    "srkd zoo list": [],
    "srkd train --list-losses": [],
    "srkd upscale photos/ -o large/": [],
    "srkd upscale photos/ -o large/ --scale 4": [],
    "srkd upscale photo.jpg": [],
    "make wheels": "builds both wheels, for which it exports every model: make check-wheel",
    "pip install dist/srkd_upscale-*.whl": WHEEL,
    "srkd-upscale photo.jpg": WHEEL,
    "srkd-upscale doctor": WHEEL,
    "uvx --from dist/srkd_upscale-*.whl srkd-upscale photo.jpg": WHEEL,
    "pipx run --spec dist/srkd_upscale-*.whl srkd-upscale photo.jpg": WHEEL,
    "docker build -f Containerfile -t srkd-upscale .": "needs a daemon: tests/test_container.py reads the file",
    "docker run --rm --user $(id -u):$(id -g) -v $PWD:/images srkd-upscale photo.jpg": "needs a daemon",
    "srkd upscale photo.jpg -m realesrgan_s_x4 -o out --runtime auto": ["--runtime", "torch"],
    "srkd upscale photos/ -o large/ --dry-run": [],
    "srkd upscale x.png -o o -m dat_light_x2": [],
    "pip install .[cluster]": "an installation, which downloads",
    "srkd upscale s3://bucket/in -o s3://bucket/out --on ray --skip-existing --report report.jsonl": RAY,
    "srkd compare study.yml --on ray": RAY,
    "srkd zoo train edsr_16x8_x2 edsr_16x8_x4 --on ray": RAY,
    "srkd compress teacher.pth --data photos/ --max-ms 30 --time 60m -o out/ --on ray": RAY,
    "srkd benchmark cluster --data photos/ -o speed/": "minutes of timing: tests/cluster/test_benchmark.py",
    "torchrun --nproc_per_node 2 tools/train.py -opt recipe.yml --auto_resume": (
        "two processes: tests/robustness/test_distributed.py, tests/cluster/test_examples.py"
    ),
    "srkd upscale s3://bucket/in -o s3://bucket/out --skip-existing": (
        "needs an object store: tests/cluster/test_object_storage.py"
    ),
    "pip install .[video]": "an installation, which downloads",
    "srkd upscale clip.mp4 -o clip_x2.mp4": "a video, by an extra: tests/video",
    "srkd upscale a.mp4 b.mkv -o large/ --suffix _x2": "videos, by an extra: tests/video",
    "pip install .[serve]": "an installation, which downloads",
    "srkd serve": SERVES,
    "srkd serve --watch scans/ -o large/": SERVES,
    "srkd serve --host 0.0.0.0": SERVES,
    "curl --data-binary @photo.jpg http://127.0.0.1:8642/api/upscale -o photo_x2.jpg": REQUEST,
    "curl -F image=@a.png -F image=@b.png -F format=webp http://127.0.0.1:8642/api/jobs": REQUEST,
    "srkd upscale held_out/chelsea.png -o large.png": [],
    "srkd upscale held_out -o large -m experiments/distilled/models/net_g_latest.safetensors --format png": [],
    "srkd compress teacher.pth --data photos/ --max-ms 30 --at 256x256 --max-mb 0.5 --time 60m -o out/": (
        f"{HOURS}: tests/cli/test_compress.py"
    ),
    "srkd compress realesrgan_x4plus --imitate --data photos/ --scale 4 --max-ms 100 --time 8h -o out/": (
        f"{HOURS}: tests/compression/test_imitation.py"
    ),
    "srkd compress realesrgan_x4plus --like my_old_camera/ --data photos/ --scale 4 --max-ms 100 --time 8h -o out/": (
        f"{HOURS}: tests/compression/test_imitation.py"
    ),
    "srkd train -opt models/realesrgan_s_x4/recipe.yml --dry-run": (
        "needs the teacher and the photographs, which are downloads: tests/imitation/test_task.py"
    ),
    "srkd train -opt models/realesrgan_s_x4/recipe.yml --auto_resume": "hours: tests/imitation/test_task.py",
    "srkd train -opt recipe.yml --set train.total_iter=1000 --auto_resume": ["--set", "train.total_iter=2"],
    "srkd train -opt alone.yml --dry-run": [],
    "srkd train -opt alone.yml": [],
    "srkd train -opt alone.yml --auto_resume": [],
    "srkd train -opt distilled.yml": [],
    "srkd train -opt my_student.yml --dry-run": [],
    "srkd train -opt my_student.yml": [],
    "srkd train -opt teacher.yml": [],
    "srkd train -opt student.yml": [],
    "srkd compare study.yml --dry-run": [],
    "srkd compare study.yml": [],
    "srkd compare study.yml --shard 1/2": [],
    "srkd compare study.yml --results my_methods_results.json --output lent --budget 13m --jobs 4": ["--jobs", "1"],
    "srkd compare --judge experiments/my_methods/results.json": [],
    "srkd benchmark frontier --precision fp32 int8 -o DIR": ["--precision"],  # measures nothing
    "srkd evaluate --model edsr_16x8_x2_cc0 --data Set5 --against published": [],
    "srkd evaluate --model bicubic dat_light_x2 --data Set5 Set14 B100 --output scores/": [],
    "srkd evaluate --model bicubic edsr_16x8_x2_cc0 --data held_out --output scores": [],
    "srkd evaluate --data held_out --output scores --model bicubic edsr_16x8_x2_cc0 "
    "experiments/alone/models/net_g_latest.safetensors experiments/distilled/models/net_g_latest.safetensors": [],
    "srkd evaluate --model bicubic teacher.safetensors experiments/my_student/models/net_g_latest.safetensors "
    "--data held_out --output scores": [],
    "srkd export edsr_16x8_x2_cc0 -o files/ --precision fp32,int8": ["--precision", "fp32", "--to", "openvino"],
    "srkd verify files/edsr_16x8_x2_cc0.onnx": "of a file that the line before skips: tests/inference/test_verify.py",
    "srkd verify files/edsr_16x8_x2_cc0.onnx files/edsr_16x8_x2_cc0.xml": (
        "of files that the line before skips: tests/inference/test_verify.py"
    ),
    "srkd export edsr_16x8_x2_cc0 -o files/ --to onnx,openvino,ncnn": (
        "runtimes in turn: tests/inference/test_export.py, tests/inference/backends/test_ncnn.py"
    ),
    "srkd export edsr_16x8_x2_cc0 -o files/ --to browser": "fetches from npm: tests/inference/test_browser.py",
    "python -m http.server --directory files/browser": "runs until it is interrupted: tests/inference/test_browser.py",
    "srkd prune edsr_16x8_x2_cc0 --keep 0.5 -o half.safetensors": [],
    "srkd prepare_data Set5 BSDS500/train --scale 2": [],
    "srkd benchmark video -o DIR": "minutes of timing: tests/benchmarks/test_video.py",
    "srkd benchmark upscale --data CC0_photos -m edsr_16x8_x2_cc0 --rounds 3 -o DIR": (
        "minutes of timing: tests/benchmarks/test_upscale.py"
    ),
    "srkd benchmark inference -m edsr_16x8_x2_cc0 --size 1280x720 --data Set5 --seconds 2 -o DIR": (
        "every runtime in turn: tests/benchmarks/test_inference.py"
    ),
    "srkd benchmark training --data folder/of/images": "two minutes of timing: tests/benchmarks/test_training.py",
    "srkd benchmark inference -m teacher.safetensors experiments/my_student/models/net_g_latest.safetensors "
    "--size 256x256 --data held_out -o speed": "every runtime in turn: tests/benchmarks/test_inference.py",
    "srkd benchmark inference -m edsr_16x8_x2_cc0 --runtime torch onnxruntime openvino ncnn litert --size 1280x720": (
        "every runtime in turn: tests/benchmarks/test_inference.py"
    ),
}


def lines_of(page: Path) -> Iterator[str]:
    """The command lines in a page's blocks, and those of srkd with options in its text, without comments."""
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if words := shlex.split(re.sub(r"^(\w+=\S+ )+", "", line), comments=True):
                yield " ".join(words)
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    yield from (" ".join(line.split()) for line in re.findall(r"`(srkd \w+ [^`]*-[^`]*)`", prose))


def dat_like(path: Path) -> Path:
    """A network of DAT's kind, small and random: 1x1 kernels, batch norm, windows."""
    import_torchvision()
    from spandrel.architectures.DAT import DAT

    torch.manual_seed(0)
    network: nn.Module = DAT(
        img_size=8,
        embed_dim=32,
        split_size=[4, 4],
        depth=[1],
        num_heads=[2],
        expansion_factor=2,
        resi_connection="1conv",
        upscale=2,
        img_range=1.0,
        upsampler="pixelshuffledirect",
    )
    torch.save({"params": network.state_dict()}, path)
    return path


@pytest.fixture
def folder(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of a page: photographs under all names used in pages, a teacher, and small data sets."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("photos", "held_out", "training"):
        shutil.copytree(photos, tmp_path / name)
    shutil.copy(photos / "p0.png", "x.png")
    shutil.copy(photos / "p0.png", "photo.jpg")  # recognised by content
    shutil.copy(photos / "p0.png", "held_out/chelsea.png")
    for name in ("teacher.safetensors", "teacher.pth"):
        shutil.copy(zoo.weights("edsr_16x8_x2_cc0")[0], name)
    few = sorted(photos.iterdir())[:2]
    monkeypatch.setattr(manifests, "locate", lambda *_, **__: few)
    monkeypatch.setattr(preparation, "locate", lambda *_, **__: few)
    monkeypatch.setattr(manifests, "at_hand", lambda *_: [])  # the few images are of all sets: near-duplicates
    monkeypatch.setattr(calibration, "DEFAULT", str(photos))
    monkeypatch.setattr(zoo, "fetch", lambda name: dat_like(tmp_path / f"{name}.pth"))
    return tmp_path


def write_files(page: Path) -> None:
    """Write the YAML and Python files of a page, with shortened trainings and studies."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"([^\n]*(?:\n[^\n]+)*)\n\n```(yaml|python)\n(.*?)```", text, re.DOTALL)
    unnamed = iter(
        {
            "compress.md": ["my_student.yml"],
            "compare.md": ["study.yml"],
            "README.md": ["recipe.yml"],
            "another-domain.md": ["teacher.yml", "student.yml"],
        }.get(page.name, [])
    )
    for words, language, content in blocks:
        named = re.findall(r"`(\w+\.(?:yml|py))`", words)
        name = named[-1] if named else next(unnamed, None) if language == "yaml" else None
        if name and name.endswith(".py") and name != "photographs.py":
            Path(name).write_text(content, encoding="utf-8")
        elif name and name.endswith(".yml"):
            Path(name).write_text(yaml.safe_dump(short(yaml.safe_load(content))), encoding="utf-8")


def short(data: dict[str, Any]) -> dict[str, Any]:
    if "variants" in data:
        return data | {"seeds": data["seeds"][:2], "variants": data["variants"][:1], "sets": ["held_out"]}
    data["train"] |= {"total_iter": 2}
    if "datasets" in data:
        data["datasets"]["train"] |= {"dataroot_gt": "training", "gt_size": 16, "batch_size_per_gpu": 2}
        data["logger"] = {"use_tb_logger": False}
    return data


def base_of_a_study() -> None:
    """The recipe and study that README and the page on comparing mention without showing them."""
    recipe = {
        "name": "base",
        "scale": 2,
        "network_g": {"type": "EDSR", "num_feat": 4, "num_block": 4, "img_range": 1.0},
        "network_g_teacher": {"zoo": "edsr_16x8_x2_cc0"},
        "train": {"total_iter": 2, "losses": [{"type": "output"}]},
        "datasets": {"train": {}, "val": {"name": "held_out", "dataroot_gt": "held_out"}},
    }
    study = {
        "name": "short",
        "base": "recipe.yml",
        "seeds": [0, 1],
        "sets": ["held_out"],
        "variants": [{"name": "output", "losses": [{"type": "L1Loss"}, {"type": "output"}]}],
    }
    contents: Mapping[str, dict[str, Any]] = {"recipe.yml": short(recipe), "study.yml": study}
    for name, content in contents.items():
        if not Path(name).exists() or name == "recipe.yml":
            Path(name).write_text(yaml.safe_dump(content), encoding="utf-8")


@pytest.mark.parametrize("page", [str(page.relative_to(ROOT)) for page in PAGES if any(lines_of(page))])
@pytest.mark.filterwarnings("ignore:torch.meshgrid")
def test_every_command_line_runs(page: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_files(ROOT / page)
    base_of_a_study()
    for line in lines_of(ROOT / page):
        assert line in LINES, f"{page}: say in LINES how `{line}` is run in a test, or why it is not"
        added = LINES[line]
        if isinstance(added, str):
            continue
        code = main([*shlex.split(line)[1:], *added])
        captured = capsys.readouterr()
        assert code == 0, f"`{line}` ended with {code}: {captured.err[-500:]}"


@pytest.mark.filterwarnings("ignore:torch.meshgrid")
def test_the_example_of_another_model(folder: Path) -> None:
    assert "`-m dat_light_x2`" in (ROOT / "docs" / "how-to" / "upscale.md").read_text(encoding="utf-8")
    assert main(["upscale", "x.png", "-o", "o", "-m", "dat_light_x2"]) == 0
    assert (folder / "o" / "x.png").is_file()


def test_all_listed_lines_are_in_pages() -> None:
    there = {line for page in PAGES for line in lines_of(page)} | {"srkd upscale x.png -o o -m dat_light_x2"}
    assert set(LINES) <= there
