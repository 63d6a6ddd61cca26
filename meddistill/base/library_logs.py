"""What other libraries say while a command runs: hushed, so that ours is seen, or shown with
`--verbose`."""

from __future__ import annotations

import logging
import os
import sys
import warnings

from meddistill.base import console

# Libraries that print by themselves, past `logging`: read when they are imported, which no command
# has done yet.
_QUIET = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_VERBOSITY": "error",
    "TF_CPP_MIN_LOG_LEVEL": "3",  # tensorboard looks for TensorFlow
}


class _ToConsole(logging.Handler):
    """Log records as dim lines beside our own, so that they do not tear a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = " ".join(self.format(record).split())
        except Exception:  # a record that cannot be formatted must not stop what it tells of
            self.handleError(record)
            return
        console.console.print(f"{record.name}: {text}", style="dim", markup=False, soft_wrap=True)


_handler = _ToConsole()


def listen(verbose: bool) -> None:
    """Show other libraries' warnings and log records from INFO on, or only their errors.

    Called once by the command line; who uses MedDistill from Python has settings of their own.
    Warnings that were asked for with `python -W` or PYTHONWARNINGS stay as asked.
    """
    root = logging.getLogger()
    _handler.setLevel(logging.INFO if verbose else logging.ERROR)
    root.setLevel(logging.INFO if verbose else logging.WARNING)
    # Also keeps libraries from bringing a handler of their own, as Lightning does where the root
    # has none.
    if _handler not in root.handlers:
        root.addHandler(_handler)
    logging.captureWarnings(verbose)
    if not sys.warnoptions:
        warnings.simplefilter("default" if verbose else "ignore")
    if not verbose:
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
