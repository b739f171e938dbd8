"""The local training loop, scoring and distillation: what happens inside one client, and nothing of federation."""
