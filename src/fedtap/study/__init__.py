"""Many runs: methods times seeds, sweeps, and what they say together."""
