"""One evaluation as a file to keep: for a spreadsheet, for other programs, to mail."""
