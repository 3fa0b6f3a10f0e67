from . import cgutils as cgutils
from . import event as event
