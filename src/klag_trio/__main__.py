"""`python -m klag_trio`."""

from klag_trio.start import main

main()
