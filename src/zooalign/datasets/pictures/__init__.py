"""Pictures: captioned photographs and drawings from data packages of Debian, one file for each package.

It may import what dataset families import.
It gives what a family gives.
"""

from zooalign.datasets.pictures.family import KIND, PACKAGES, VERSION, Options, build

__all__ = ["KIND", "PACKAGES", "VERSION", "Options", "build"]
