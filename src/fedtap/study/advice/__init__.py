"""Short pilots on a user's own federation, and what they say of which method to use."""
