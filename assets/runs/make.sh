#!/usr/bin/env bash
# Records the runs that the page opens on, with the default model: `bash assets/runs/make.sh` after the frames' format changes.
# Of each, NAME.frames is what the page fetches at once, NAME.deep what it fetches of one layer or one choice.
set -euo pipefail
cd "$(dirname "$0")/../.."

record() {  # name, then what python -m model takes
    local name=$1 kept
    kept=$(mktemp -d)
    shift
    .venv/bin/python -m model "$@" -o "$kept/run.trace"
    .venv/bin/python -m viz "$kept/run.trace" -o "assets/runs/$name.frames"
    rm -r "$kept"
}

record 1-a-fact "The capital of France is Paris. The capital of Italy is" --max-new-tokens 8
record 2-a-story "Once upon a time, a small robot" --temperature 0.8 --top-p 0.95 --seed 1 --max-new-tokens 24
record 3-a-chat-turn "Name three primary colors." --chat --max-new-tokens 16
