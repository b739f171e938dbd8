"""What a run leaves for people: the event log, the report, the model cards. Reads a run's files; trains and measures nothing."""
