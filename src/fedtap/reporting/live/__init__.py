"""A run's report while the run goes on: followed, and served to this machine. Not here: what a report says (run/)."""
