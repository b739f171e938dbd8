"""What every page is made of: markup, tables, figures, numbers as people read them."""
