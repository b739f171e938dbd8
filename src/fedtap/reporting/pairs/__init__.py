"""The page of a study of pairs."""
