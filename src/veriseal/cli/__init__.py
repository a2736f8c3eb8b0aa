"""The verbs: arguments in, text and exit status out. The only place that exits."""
