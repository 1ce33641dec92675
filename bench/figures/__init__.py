"""One file for each line, or few lines, of the table of figures."""
