"""Looking at a run while it goes on: ``fedtap watch``, and what ``fedtap run --live`` does."""
