"""A model that leaves its run: a folder complete in itself, its answers, other forms of it. Not here: how it is trained."""
