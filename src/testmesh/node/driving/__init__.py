"""The owner's side of an evaluation: what runs where, and when."""
