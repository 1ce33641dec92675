"""testmesh grades Python projects by running their pytest suites over a mesh of machines."""

__version__ = "0.1.0"
