"""What a person uses at the terminal: talking HTTP to a mesh, and showing what it says."""
