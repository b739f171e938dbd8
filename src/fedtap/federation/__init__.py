"""The round loop and what it needs, free of any engine."""
