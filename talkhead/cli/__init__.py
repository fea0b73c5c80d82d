"""The command line: the only code that prints, parses arguments, sets up logging, or exits."""
