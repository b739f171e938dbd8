"""The commands that take a model: ask it, write it in another form, serve it."""
