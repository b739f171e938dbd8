"""All that a scenario needs of the model hub, brought here before it is run: what that is, how much, and that it is whole."""
