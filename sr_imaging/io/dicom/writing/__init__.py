"""From a volume to a derived series: headers, encoding, de-identification."""
