"""Metrics: how good a player is, how close to its teacher or to the data, what it costs, and how sure that is.

classification  accuracy, negative log-likelihood, calibration error, confusion matrix
fidelity        agreement with the teacher, KL to it
generative      Fréchet and kernel distance, inception score: generated images against real ones, by their features
manifold        precision and recall, density and coverage, nearest neighbours
features        the extractors of those features, and the real images' features kept on disk
cost            parameters, FLOPs, latency
intervals       mean and 95 % interval over seeds, paired differences

The first two return sums over a batch, which add over batches, devices and processes; `summarise` turns the total into
numbers.
"""
