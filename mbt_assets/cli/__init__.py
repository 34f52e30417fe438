"""The command line `mbt`: one file per command, thin over the rooms that do the work."""
