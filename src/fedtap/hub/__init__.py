"""The Hugging Face hub: what a repository holds, how it is brought and checked, and what was. Not here: what is needed."""
