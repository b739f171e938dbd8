"""The commands that begin with one's own data."""
