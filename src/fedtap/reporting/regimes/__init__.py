"""The page of ``fedtap study regimes``: the map, and each method against what a user could take instead."""
