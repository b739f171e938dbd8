"""``fedtap study pairs``: what a server's model loses, or gains, as modality-task pairs grow in number."""
