"""A progress bar on stderr."""

import sys


def progress(what, share, note):
    done = int(30 * share)
    sys.stderr.write(f"\r{what} [{'#' * done}{'.' * (30 - done)}] {100 * share:5.1f}%  {note}   ")
    sys.stderr.flush()
