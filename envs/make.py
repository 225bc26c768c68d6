"""Write the conda environments from pyproject.toml: python envs/make.py. A test holds them equal."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEAD = """# Made from pyproject.toml by envs/make.py; do not edit.
# {title}
#   conda env create --file envs/{name}.yaml && conda activate zooalign && pip install --no-deps --editable .
#   pip install --no-deps --requirement envs/packages.txt
name: zooalign
channels: [conda-forge, nodefaults]
dependencies:
  - python=3.12
  - pip
  - pip:
"""


def environment(name: str) -> str:
    """Text of envs/{name}.yaml; name is "cpu" or "cuda"."""
    pinned = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    title = {
        "cpu": "No GPU: set PIP_EXTRA_INDEX_URL to PyTorch's index of CPU wheels, which has these +cpu builds.",
        "cuda": "NVIDIA GPU: torch's ordinary build brings its CUDA libraries.",
    }[name]
    lines = [f"      - {p}\n" for p in pinned]
    if name == "cpu":
        lines = [line.replace("==2.13.0\n", "==2.13.0+cpu\n") if " torch==" in line else line for line in lines]
        lines = [line.replace("==0.28.0\n", "==0.28.0+cpu\n") if " torchvision==" in line else line for line in lines]
    return HEAD.format(title=title, name=name) + "".join(lines)


def main() -> None:
    """Write both files."""
    for name in ("cpu", "cuda"):
        (ROOT / "envs" / f"{name}.yaml").write_text(environment(name))


if __name__ == "__main__":
    main()
