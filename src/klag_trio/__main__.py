"""`python -m klag_trio`."""

from klag_trio.cli import main

main(prog_name="klag-trio")
