"""The command ``kleiber``, also as ``python -m kleiber``: the command line, loaded with care.

What it needs takes a second to load. Ctrl-C in that second ends the process at once, as it ends
any program that has not begun, instead of tracing through half-loaded modules: importing this
module, which only the command does, gives the signal its default action, and ``main`` gives it back
to Python.
"""

import signal
import sys
import threading

# (a shell has the interrupts of a background job ignored, which stays so)
OURS = (
    threading.current_thread() is threading.main_thread()
    and signal.getsignal(signal.SIGINT) is signal.default_int_handler
)
if OURS:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def main() -> None:
    """Load the command line and run it."""
    from kleiber.cli import main as run

    if OURS:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


if __name__ == "__main__":
    sys.exit(main())
