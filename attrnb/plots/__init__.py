"Pictures of attributions: maps, pictures under maps, curves and bars, landscapes, and pictures with a slider"

from attrnb._rooms import names_behind
from attrnb.plots.charts import *
from attrnb.plots.images import *
from attrnb.plots.landscapes import *
from attrnb.plots.maps import *
from attrnb.plots.slider import *

__getattr__ = names_behind(__name__)
