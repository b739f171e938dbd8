"""Results at hand in Python: a run's tables as data frames, its figures, its models, and how a notebook shows it."""
