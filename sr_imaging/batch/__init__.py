"""Many scans in one run: the plan, one scan, the journal for a resume, the report."""
