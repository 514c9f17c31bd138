"""Training: draw and augment images, fit one member, resume, predict, write its folder."""
