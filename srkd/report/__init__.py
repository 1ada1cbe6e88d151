"""Tables, plots, crops and the HTML report, from plain dictionaries of numbers and text.

The input is plain data only, so a report can be generated again from the JSON that a run wrote.
"""
