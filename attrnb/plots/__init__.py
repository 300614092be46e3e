"Pictures of attributions: maps, pictures under maps, curves and bars, landscapes, pictures with a slider, and tables"

from attrnb._rooms import names_behind
from attrnb.plots.charts import *
from attrnb.plots.images import *
from attrnb.plots.landscapes import *
from attrnb.plots.maps import *
from attrnb.plots.slider import *
from attrnb.plots.tables import *

__getattr__ = names_behind(__name__)
