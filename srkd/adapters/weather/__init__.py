"""Weather: students of numerical simulations, from a table of station forecasts or from simulations run here."""
