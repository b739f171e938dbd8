"""Data: sources, splits, the partition among clients, encoding and loading."""
