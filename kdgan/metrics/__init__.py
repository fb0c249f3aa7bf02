"""Metrics: how good a player is, how close to its teacher or to the data, what it costs, and how sure that is.

classification  accuracy, negative log-likelihood, calibration error, confusion matrix; top-5, macro F1, by class
tags            P@n, F@n, MAP, MRR, micro and macro F1 of multi-hot labels
regression      RMSE, MAE, R²
language        perplexity, bits per character, accuracy of the next token
restoration     PSNR, SSIM
fidelity        agreement with the teacher, KL to it
generative      Fréchet and kernel distance, inception score: generated images against real ones, by their features
manifold        precision and recall, density and coverage, nearest neighbours
features        the extractors of those features, and the real images' features kept on disk
cost            parameters, FLOPs, latency
intervals       mean and 95 % interval over seeds, paired differences

The first six return sums over a batch, which add over batches, devices and processes; `summarise` turns the total into
numbers.
"""
