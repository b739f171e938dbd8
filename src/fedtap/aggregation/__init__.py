"""Means of components over those that hold them, weighted, robust or conflict-averse. Pure."""
