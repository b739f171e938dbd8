"""Engines: ways to reach clients. In-process by default."""
