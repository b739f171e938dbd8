"""What the data sets of the Hugging Face hub have in common. Each data set is a file in the room above."""
