"""From files to a volume: headers, grouping, placement, repair, pixels."""
