import numpy as np

class QiskitAlgorithmGlobals:
    random_seed: int | None
    @property
    def random(self) -> np.random.Generator: ...

algorithm_globals: QiskitAlgorithmGlobals
