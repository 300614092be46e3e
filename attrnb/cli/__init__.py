"The `attrnb` command; written by hand"

from attrnb._rooms import names_behind
from attrnb.cli.command import *
from attrnb.cli.explanation import *
from attrnb.cli.terminal import *

__getattr__ = names_behind(__name__, OURS="attrnb.cli.explanation", find_class="attrnb.photographs")
