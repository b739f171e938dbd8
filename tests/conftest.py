"""What holds for every test."""

from importlib.util import find_spec

import torch
from hypothesis import settings

collect_ignore = [] if find_spec("flwr") else ["loopback.py"]  # Flower takes a newer Python than the rest

# The tests' tensors are tiny: a second thread only waits for the first, and on a busy machine for long.
torch.set_num_threads(1)

# No test is about time, and on a busy machine any example may take long.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
