"""The command line in a process whose files may grow to so many bytes: as good as a full disk."""

LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
sys.argv = ["mbt", *sys.argv[2:]]
from mbt_assets.cli.main import main
main()
"""
