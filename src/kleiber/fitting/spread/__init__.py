"""The spread: covariance, resampled refits, intervals, profiles and posteriors."""
