"""One run: everything below put together, from a scenario to a folder of results, and what is asked of it afterwards."""
