"""DICOM: series from files, derived series to files, and the rules that both are held to."""
