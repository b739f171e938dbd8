"""Models behind HTTP: `fedtap serve`, for which the extra `serve` has to be installed. Not here: what models answer."""
