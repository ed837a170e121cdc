"""`python -m harness`: the command line, where its script is not on the path."""

from harness.commands.app import main

main()
