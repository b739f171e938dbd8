"""Differential privacy: DP-SGD at the client, noise at the server, and what either is worth."""
