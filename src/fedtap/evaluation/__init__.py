"""Evaluation: what trained models and trivial baselines are worth. Not here: differences between methods (study)."""
