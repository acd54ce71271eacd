"""Work on a whole store: backup and restore."""
