"""The command line: the only code that prints, parses, sets up logging, or exits."""
