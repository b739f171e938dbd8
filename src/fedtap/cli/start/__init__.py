"""What a newcomer calls first: a demonstration, and a look at what this machine has for it."""
