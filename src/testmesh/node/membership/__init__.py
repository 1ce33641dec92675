"""Who is in the mesh and who lives."""
