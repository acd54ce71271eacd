"""lc_memory beside raw sqlite3 and its peers, in one run."""
