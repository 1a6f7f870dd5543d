"""The network, the motion discriminator and the losses."""
