"""From members' predictions to one calibrated answer: blend, temperature, sets, operating point. No torch."""
