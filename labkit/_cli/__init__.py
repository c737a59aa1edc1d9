"""How the command line parses parameters, prints and fails; the commands are in `labkit.cli`."""
