"""Evaluation: what trained models, trivial baselines and the difference between methods are worth."""
