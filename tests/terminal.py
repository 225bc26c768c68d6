"""Programs under test get signals as from a terminal, whatever the caller of the tests ignores."""

import signal


def default_signals() -> None:
    """For `preexec_fn`: restore the signals that end a process.

    A shell starts background processes with SIGINT and SIGQUIT ignored, nohup adds SIGHUP, and children inherit that.
    """
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
