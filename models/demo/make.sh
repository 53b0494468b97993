#!/bin/sh
# Makes models/lmserv-demo.gguf: writes the corpus, trains, exports and, given a llama-server, evaluates.
set -eu

usage() {
    cat <<'USAGE'
usage: models/demo/make.sh [options]

  --gguf-py DIR         gguf-py of llama.cpp's source     (vendor/llama.cpp/src/gguf-py)
  --llama-server FILE   evaluate the result with it; without it the evaluation is left out
  --out FILE            the model to write                (models/lmserv-demo.gguf)
  --work DIR            tokeniser and checkpoints         (models/demo/work)
  --epochs N            passes over the corpus            (50: about 25 minutes on one core)
  --seed N              1
  --port N              for the evaluation                (8791)
  --fresh               start over instead of going on from the checkpoint in --work

Ctrl-C is safe at any time; the same command goes on from the last checkpoint.
Needs Python 3.9 or newer with torch, numpy, regex and jinja2. On Debian:
  apt-get install python3-torch libopenblas0-pthread python3-numpy python3-regex python3-jinja2
PYTHON names another interpreter than python3.
USAGE
}

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
python=${PYTHON:-python3}
gguf_py=$root/vendor/llama.cpp/src/gguf-py
server=
out=$root/models/lmserv-demo.gguf
work=$here/work
epochs=50
seed=1
port=8791
fresh=

while [ $# -gt 0 ]; do
    case $1 in
        --gguf-py | --llama-server | --out | --work | --epochs | --seed | --port)
            [ $# -ge 2 ] || { echo "$1 needs a value" >&2; exit 2; }
            case $1 in
                --gguf-py) gguf_py=$2 ;;
                --llama-server) server=$2 ;;
                --out) out=$2 ;;
                --work) work=$2 ;;
                --epochs) epochs=$2 ;;
                --seed) seed=$2 ;;
                --port) port=$2 ;;
            esac
            shift 2 ;;
        --fresh) fresh=yes; shift ;;
        -h | --help) usage; exit 0 ;;
        *) echo "unknown option: $1" >&2; usage >&2; exit 2 ;;
    esac
done

"$python" -c 'import torch, numpy, regex, jinja2' || {
    echo "A Python module is missing. On Debian: apt-get install python3-torch libopenblas0-pthread python3-numpy" \
        "python3-regex python3-jinja2 (and PYTHON=/usr/bin/python3 if another python3 comes first in PATH)." >&2
    exit 1
}
[ -d "$gguf_py/gguf" ] || {
    echo "No gguf-py in $gguf_py. Name the one in llama.cpp's source with --gguf-py DIR." >&2
    exit 1
}
[ -z "$server" ] || [ -x "$server" ] || { echo "Not a program: $server" >&2; exit 1; }

[ -z "$fresh" ] || rm -f "$work/tokenizer.json" "$work/checkpoint.pt"
mkdir -p "$work" "$(dirname "$out")"
"$python" "$here/train.py" --work "$work" --epochs "$epochs" --seed "$seed"
"$python" "$here/export.py" --work "$work" --gguf-py "$gguf_py" --out "$out"
[ -n "$server" ] || exit 0

"$server" -m "$out" --host 127.0.0.1 --port "$port" -t 1 -c 8192 -np 4 --cache-ram 0 >"$work/llama-server.log" 2>&1 &
child=$!
trap 'kill "$child" 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM
tries=0
until grep -q "listening on" "$work/llama-server.log"; do
    tries=$((tries + 1))
    if [ "$tries" -gt 60 ] || ! kill -0 "$child" 2>/dev/null; then
        echo "llama-server did not start; its log is $work/llama-server.log" >&2
        exit 1
    fi
    sleep 0.5
done
"$python" "$here/evaluate.py" --url "http://127.0.0.1:$port" --questions "$root/models/demo-questions.json"
