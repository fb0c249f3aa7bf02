"""Losses: arrays in, one value per example out; the mean over the batch is the caller's.

logits       cross-entropy, KL with temperatures, sigmoid matching, squared error of logits, the noisy teacher's logits
adversarial  the two sides of a GAN game, from the discriminator's scores; `gan_loss` gives both by the game's name
penalties    R1, the gradient penalty of WGAN-GP, and their lazy form
images       mean absolute and mean squared error between images
features     intermediate features of student and teacher: weighted L1 and L2, kernel alignment
latents      Gaussian latents and the terms of an ELBO; noise for a smaller latent
concrete     labels drawn from the concrete (Gumbel-softmax) distribution, and their score
arguments    what all of them ask of their arguments: precision, temperatures, shapes
"""
