"""The process: threads, memory, randomness, files that are whole or absent, and errors of one line."""
