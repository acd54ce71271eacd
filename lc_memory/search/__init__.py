"""Recall: finding the right memory by word, by meaning and by time."""
