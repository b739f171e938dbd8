"""What holds for every test."""

import torch

# The tests' tensors are tiny: a second thread only waits for the first, and on a busy machine for long.
torch.set_num_threads(1)
