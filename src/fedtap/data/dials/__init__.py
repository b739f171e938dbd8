r"""What makes clients contradict each other, turned on purpose: labels that some exchange, inputs that look or read otherwise.

All three splits of a client are under its dials, its own test split too: a client is tested on the world that it lives in. The
cross-client test asks the examples of OTHER clients as those have them, with their names for classes and their looks: what a
model knows of the world of others. What split an example is in was decided before, by its content as it was. Not here: how much
of it there is to be (scenario/dials).
"""
