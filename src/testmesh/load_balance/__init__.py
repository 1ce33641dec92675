"""PURE: which node gets which module. One policy a file, all behind the protocol in `policy.py`."""
