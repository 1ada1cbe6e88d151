"""Weather: students of numerical simulations. Stations come from a table; other systems are simulated here."""
