"""Progress of a run or of many, for whoever watches: on a terminal, as plain lines, in a notebook. Observers, no more."""
