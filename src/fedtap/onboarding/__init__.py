"""A site that joins a finished run: its slice of the server's model, its personal model, its gain over training alone."""
