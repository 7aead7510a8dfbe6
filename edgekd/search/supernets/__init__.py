"""One net that holds many students: trained together, taken out without training."""
