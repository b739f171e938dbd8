"""Flower as the engine beyond one machine: the only room that knows flwr. It is imported when it is asked for, never before."""
