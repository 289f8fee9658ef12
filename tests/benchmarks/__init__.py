"""What ``make bench`` measures: each module has a ``measure()`` that returns figures by name, the unit in the name."""
