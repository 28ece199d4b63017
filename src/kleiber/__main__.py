"""The command ``kleiber``, also as ``python -m kleiber``.

Loading the command line takes a second. Ctrl-C in that second ends the process at once, without a
traceback through half-loaded modules: importing this module, which only the command does, gives the
signal its default action, and ``main`` restores Python's handler.
"""

import signal
import sys
import threading

# (a shell has the interrupts of a background job ignored, which stays so)
OWN_SIGNAL = (
    threading.current_thread() is threading.main_thread()
    and signal.getsignal(signal.SIGINT) is signal.default_int_handler
)
if OWN_SIGNAL:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def main() -> None:
    """Load the command line and run it."""
    from kleiber.cli import main as run

    if OWN_SIGNAL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


if __name__ == "__main__":
    sys.exit(main())
