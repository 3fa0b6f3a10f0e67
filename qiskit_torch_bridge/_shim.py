try:
    from .primitives import BatchedStatevectorEstimator
except ImportError:
    from .primitives.local import LocalEstimator
    def BatchedStatevectorEstimator(seed=None, dtype=None):
        return LocalEstimator(seed=seed)
