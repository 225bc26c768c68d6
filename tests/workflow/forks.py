"""Snakemake's command line in a fork of a process that has imported it: the imports take two seconds, once.

Run as a program this file is that process: it reads a request per line and answers with an exit status.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path


def run_snakemake(arguments, folder, environment, timeout):
    """As `subprocess.run([python, "-m", "snakemake", ...], text=True, capture_output=True)`."""
    arguments = [str(argument) for argument in arguments]
    with tempfile.TemporaryDirectory() as place:
        said = [Path(place) / name for name in ("stdout", "stderr")]
        request = [arguments, str(folder), dict(environment), [str(path) for path in said], timeout]
        server = _server(environment.get("PYTHONPATH"))
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        status = json.loads(server.stdout.readline())
        texts = [path.read_text() for path in said]
    if status == -signal.SIGALRM:
        raise subprocess.TimeoutExpired(["snakemake", *arguments], timeout, *texts)
    return subprocess.CompletedProcess(["snakemake", *arguments], status, *texts)


@cache
def _server(path):
    """The process with the imports, for each PYTHONPATH; it ends with its standard input."""
    del path
    return subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def serve():
    """Answer requests until there are no more."""
    import snakemake.cli

    import zooalign.workflow.session  # noqa: F401

    for line in sys.stdin:
        child = os.fork()
        if not child:
            _run(snakemake.cli.main, *json.loads(line))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps(status), flush=True)


def _run(main, arguments, folder, environment, said, timeout):
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in enumerate([os.devnull, *said]):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
    sys.argv = [main.__code__.co_filename.replace("cli.py", "__main__.py"), *arguments]
    signal.alarm(timeout)
    try:
        main(arguments)
        status = 0
    except SystemExit as end:
        status = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        status = 1
    # What the interpreter does at its end; the end of a sweep is said there.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status or 0)


if __name__ == "__main__":
    serve()
