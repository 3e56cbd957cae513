"""`sr-imaging demo`: sample scans super-resolved, with pictures."""
