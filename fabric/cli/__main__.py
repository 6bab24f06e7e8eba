"""`python -m fabric.cli`: the command line without its script."""

from fabric.cli import main

main()
