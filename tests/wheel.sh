#!/bin/sh
# Build the wheel, install it into an empty environment (no development tools, no checkout), and run it there.
set -eu
python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT INT TERM
"$python" -m build --quiet --wheel --no-isolation --outdir "$folder/dist" .
if command -v uv >/dev/null 2>&1; then
    uv venv --quiet --python "$python" "$folder/env"
    uv pip install --quiet --python "$folder/env/bin/python" "$folder"/dist/*.whl
else
    "$python" -m venv "$folder/env"
    "$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check "$folder"/dist/*.whl
fi
cd "$folder"
export ROLLCAGE_STATE_DIR="$folder/state"
env/bin/rollcage --version
env/bin/rollcage --help >/dev/null
env/bin/python -c 'import importlib.resources as r, rollcage.themes as t; assert any(f.name.endswith(".tcss") for f in r.files(t).iterdir())'
env/bin/rollcage demo --auto >"$folder/demo.txt" || { cat "$folder/demo.txt"; exit 1; }
tail -n 1 "$folder/demo.txt" | grep -q '^recovered' || { cat "$folder/demo.txt"; exit 1; }
echo "wheel: installed and run in an empty environment"
