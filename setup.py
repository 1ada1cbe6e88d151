"""Puts the zoo and the manifests inside the package when a wheel is built; everything else is in setup.cfg."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
# Training states between two slices and the studies' pictures stay in the repository.
LEFT_OUT = shutil.ignore_patterns("state.pt", "studies", "__pycache__")


class BuildWithData(build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for name in ("models", "datasets"):
                shutil.copytree(HERE / name, Path(self.build_lib) / "srkd" / name, ignore=LEFT_OUT, dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithData})
