import importlib
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from srkd.cli import main
from srkd.images.read import ImageData, write_image
from support import textured

ROOT = Path(__file__).parent.parent.parent


def test_every_command_has_help_a_tool_and_a_line_in_the_overview(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["--help"]) == 0
    overview = capsys.readouterr().out
    for name in main.commands():
        (line,) = [line for line in overview.splitlines() if line.startswith(f"  {name} ")]
        assert line.endswith("."), f"not a whole sentence: {line}"
        assert (ROOT / "tools" / f"{name}.py").is_file()
        with pytest.raises(SystemExit) as stop:
            main.main([name, "--help"])
        assert stop.value.code == 0 and "--debug" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["train", "evaluate", "upscale"])
def test_help_comes_without_importing_torch(name: str) -> None:
    code = (
        "import sys; from srkd.cli.main import main\n"
        f"try: main(['{name}', '--help'])\nexcept SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    assert _cpu_seconds([sys.executable, "-c", code]) < 1


def _cpu_seconds(command: list[str]) -> float:
    """Of processor, not of clock: the machine may be busy with something else."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize(
    "arguments",
    [
        ["upscale", "photo.png", "--worker-cpus", "2"],
        ["upscale", "photo.png", "--worker-gpus", "0", "--on", "local"],
        ["compare", "study.yml", "--worker-cpus", "2"],
        ["compress", "edsr_baseline_x2", "-o", "out", "--data", "photos", "--worker-cpus", "2"],
        ["zoo", "train", "edsr_16x8_x2", "--worker-gpus", "1"],
    ],
)
def test_resources_of_tasks_need_a_cluster(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main.main(arguments)
    assert stop.value.code == 2
    assert "is for the tasks of a cluster: name it by --on" in capsys.readouterr().err


def test_a_task_has_at_least_one_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main.main(["upscale", "photo.png", "--on", "ray", "--worker-cpus", "0"])
    assert '"0" is not an integer of at least 1' in capsys.readouterr().err


def test_an_unknown_command_is_a_wrong_argument(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["trian"]) == 2
    assert capsys.readouterr().err == 'srkd: unknown command "trian" (did you mean "train"?)\n'


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["upscale", ""], "srkd upscale: an empty argument follows; is a variable unset?"),
        (["upscale", "photo.png", "-o", ""], "-o: an empty argument follows"),
        (["upscale", "photo.png", "--output="], "--output: an empty argument follows"),
        (["evaluate", "--data", "photos", "", "--scale", "2"], "photos: an empty argument follows"),
        (["compress", "edsr_baseline_x2", "-o", "out", "--data", ""], "--data: an empty argument follows"),
        (["serve", "--host", "0.0.0.0", "--token", ""], "--token: an empty argument follows"),
    ],
)
def test_an_empty_argument_is_not_the_working_folder(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: Any
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    write_image(Path("photo.png"), ImageData(textured(0, 8, 8)))
    with pytest.raises(SystemExit) as stop:
        main.main(arguments)
    assert stop.value.code == 2 and message in capsys.readouterr().err
    assert list(tmp_path.rglob("*.png")) == [tmp_path / "work" / "photo.png"]


def test_a_value_may_end_like_an_empty_one(capsys: pytest.CaptureFixture[str]) -> None:
    """As base64 does, and a key of a recipe that is set to nothing."""
    assert main.main(["train", "-opt", "no.yml", "--set=name=", "--set=path.root=YWJj="]) == 1
    assert "no.yml: cannot read the recipe" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "train needs -opt RECIPE"),
        (["train", "-opt", "no.yml"], "no.yml: cannot read the recipe: No such file"),
        (["train", "-opt", "x.yml", "--budget", "soon"], "cannot read the recipe"),
        (["evaluate", "--model", "bicubic", "--data", "nowhere", "--scale", "2"], "nowhere: no such folder"),
        (["evaluate", "--model", "bicubic", "--data", "file.txt", "--scale", "2"], "file.txt: a file; give the folder"),
        (["evaluate", "--model", "bicubic", "--data", ".", "--scale", "2", "--output", "file.txt"], "file.txt"),
        (["benchmark", "inference", "-m", "edsr_16x8_x2_cc0", "-o", "file.txt"], "file.txt: cannot be a folder"),
        (["export", "edsr_16x8_x2_cc0", "-o", "file.txt"], "file.txt: cannot be a folder"),
        (["zoo", "train", "edsr"], 'unknown zoo model "edsr"'),
        (["prune", "edsr_16x8_x2_cc0", "-o", "half.safetensors"], "nothing to prune: give --keep, --blocks or"),
        (["train", "-opt", "own.yml"], 'task "mine:Task": no module mine; install it, or start with PYTHONPATH=.'),
        (
            ["train", "-opt", "typo.yml", "--set", "scale=many"],
            'typo.yml: unknown key nme (did you mean "name"?) (line 1)',
        ),
        (["train", "-opt", "typo.yml", "--set", "scale=many"], "got 'many' (--set)"),
    ],
)
def test_mistakes_are_one_line_and_a_code(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file.txt").touch()
    Path("own.yml").write_text("{name: x, task: 'mine:Task'}", encoding="utf-8")
    Path("typo.yml").write_text("nme: x\nscale: 2\n", encoding="utf-8")
    assert main.main(arguments) == 1
    output = capsys.readouterr().err
    assert message in output and output.startswith("srkd: ") and output.count("\n") == 1


def test_train_evaluate_and_list_end_to_end(
    recipe: dict[str, Any], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "r.yml").write_text(yaml.safe_dump(recipe))
    arguments = ["train", "-opt", str(tmp_path / "r.yml"), "--output", str(tmp_path)]
    assert main.main([*arguments, "--dry-run", "--seed", "3"]) == 0
    assert not (tmp_path / "tiny").exists()
    assert main.main([*arguments, "--set", "train.total_iter=2", "--seed", "3"]) == 0
    assert yaml.safe_load((tmp_path / "tiny" / "recipe.yml").read_text())["manual_seed"] == 3
    model = str(tmp_path / "tiny" / "models" / "net_g_latest.safetensors")
    capsys.readouterr()
    out = tmp_path / "scores"
    assert main.main(["evaluate", "--model", "bicubic", model, "--data", str(photos), "--output", str(out)]) == 0
    table = capsys.readouterr().out
    assert "net_g_latest" in table and "MATLAB bicubic LR" in table
    assert (out / "results.json").is_file() and "| net_g_latest" in (out / "results.md").read_text()


def test_the_lists_name_every_loss_and_network(capsys: pytest.CaptureFixture[str]) -> None:
    from srkd import losses

    assert main.main(["train", "--list-losses", "--list-networks"]) == 0
    output = capsys.readouterr().out
    assert all(f"{name}(" in output for name in losses.names()) and "EDSR" in output and "RCAN" in output


def test_an_interruption_during_the_imports_ends_as_a_later_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "srkd.cli.main":
                raise KeyboardInterrupt

    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    monkeypatch.delitem(sys.modules, "srkd.cli.main")
    assert importlib.import_module("srkd.__main__").main() == 130


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 745. GiB for an array"),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
)
def test_running_out_of_memory_is_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> int:
        raise error

    monkeypatch.setattr(main, "_dispatch", fail)
    assert main.main(["train"]) == 1
    output = capsys.readouterr().err
    assert output.startswith("srkd: not enough memory") and "use a smaller" in output and output.count("\n") == 1
