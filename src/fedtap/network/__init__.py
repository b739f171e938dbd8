"""The network of experts: one per process; a client's model is a state swapped into it."""
