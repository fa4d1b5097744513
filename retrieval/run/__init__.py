"""One run on disk: its identity, its directory, its status and its logs."""
