"""The Ray engine: a pool's workers as Ray actors. Alone in knowing Ray, which is an extra."""
