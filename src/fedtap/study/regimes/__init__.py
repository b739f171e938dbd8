"""``fedtap study regimes``: in which kind of federation which way of personalizing pays, and where none does."""
