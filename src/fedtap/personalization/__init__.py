"""What a client adopts and what it keeps: gates, replacement, the guard, closed-form refits."""
