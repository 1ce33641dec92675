"""Telling whoever asked for it that an evaluation has ended: who does, when, and how."""
