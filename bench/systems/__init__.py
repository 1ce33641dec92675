"""What is compared: the mesh, a shell loop over plain pytest, pytest-xdist; and how what they use is counted."""
