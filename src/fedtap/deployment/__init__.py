"""Many machines: nodes, the apps of a federation over Flower, and its rehearsal on one machine."""
