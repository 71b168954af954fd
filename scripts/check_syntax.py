"""check_syntax.py DIRECTORY...: compiles every Python file below, without leaving compiled files behind."""

import sys
from pathlib import Path

failed = False
for directory in sys.argv[1:]:
    for path in sorted(Path(directory).rglob("*.py")):
        if {".venv", "__pycache__"} & set(path.parts):
            continue
        try:
            compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
        except SyntaxError as error:
            print(f"{path}:{error.lineno}: {error.msg}", file=sys.stderr)
            failed = True
sys.exit(failed)
