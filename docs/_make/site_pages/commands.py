"""Every command and option of `zooalign`, as --help has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from site_pages.markdown import plain, table
from zooalign.cli.main import app

_ABOUT = """# Commands

In an activated environment (`. .venv/bin/activate`) the commands are called `zooalign ...`, otherwise
`.venv/bin/zooalign ...`. Every command has `--help`. A user's error is one message and exit status 1.

The sweep itself is run by `bash run.sh` or by Snakemake ([Tutorial](../tutorial.md)).
"""


def pages() -> dict[str, str]:
    """Text of the page by name."""
    return {"commands.md": "\n".join([_ABOUT, *(text for name, one in walk() for text in _section(name, one))])}


def walk() -> Iterator[tuple[str, Any]]:
    """Every command with its full name, "zooalign zoo add"; groups come before their commands."""
    from typer.main import get_command

    yield from _walk("zooalign", get_command(app))


def _walk(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield name, command
    for part, inner in getattr(command, "commands", {}).items():
        yield from _walk(f"{name} {part}", inner)


def parameters(command: Any) -> list[Any]:
    """Arguments and options of a command but for those that only complete shells."""
    return [p for p in command.params if p.name not in ("install_completion", "show_completion")]


def shown(parameter: Any) -> str:
    """How a parameter is written on the command line."""
    if parameter.param_type_name == "argument":
        many = "..." if parameter.nargs == -1 else ""
        return f"{(parameter.metavar or parameter.name).upper()}{many}"
    return ", ".join([*parameter.opts, *parameter.secondary_opts])


def _section(name: str, command: Any) -> Iterator[str]:
    level = "##" if name.count(" ") < 2 else "###"
    yield f"{level} `{name}` {{ #{name.replace(' ', '-')} }}\n"
    yield f"{plain(command.help or '').strip()}\n"
    arguments = [p for p in parameters(command) if p.param_type_name == "argument"]
    if not getattr(command, "commands", None):
        yield f"    {' '.join([name, *(shown(p) for p in arguments), '[OPTIONS]'])}\n"
    rows = [(f"`{shown(p)}`", _default(p), p.help or "") for p in parameters(command)]
    if rows:
        yield table(("argument or option", "default", "meaning"), rows)


def _default(parameter: Any) -> str:
    if parameter.required:
        return "(required)"
    value = parameter.default
    if value is None or value == () or value == []:
        return ""
    if isinstance(value, bool):
        return "yes" if value else ""
    return f"`{value}`"
