"""What pilots say: a table, sentences, Markdown."""
