"Photographs, and classifiers that take pixels in [0, 1]"

from attrnb._rooms import names_behind
from attrnb.photographs.folder import *
from attrnb.photographs.models import *
from attrnb.photographs.pictures import *

__getattr__ = names_behind(__name__)
