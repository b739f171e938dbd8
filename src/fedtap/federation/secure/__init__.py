"""Secure aggregation: the server learns sums alone."""
