"""The uncertainty of a fit: covariance, resampled refits, intervals, profiles and posteriors."""
