"""What the doctests leave out where an optional part is missing that takes a newer Python than the rest."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("flwr") else ["fedtap/engines/flower/*"]
