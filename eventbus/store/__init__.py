"""Everything that knows SQL: the file, its tables, and the rules by which rows change."""
