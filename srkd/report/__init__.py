"""Tables, plots, crops and the HTML report, from plain dictionaries of numbers and text.

Nothing here knows how the numbers came about, so a report can be made again from the JSON that a run wrote.
"""
