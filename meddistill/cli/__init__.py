"""The command line: options become settings, settings go to a stage. Imports no torch."""
