#!/usr/bin/env bash
# Serves a model over HTTP on 127.0.0.1.
#
#   bin/server.sh MODEL PORT LOG   for as long as standard input stays open
#   bin/server.sh MODEL PORT       in the foreground, for a person: make serve
#
# Whoever starts it with LOG holds the other end of that pipe: when they end, however they end, the
# pipe closes and the server goes too. The server sees an empty model cache and no hub, so the one
# model it can list and answer for is MODEL (a folder in someone's cache would be listed first).
set -u
model=$1 port=$2 log=${3:-}
root=$(cd "$(dirname "$0")/.." && pwd)

HF_HUB_CACHE=$(dirname "${log:-$(dirname "$model")/logs/server.log}")/empty_hub_cache
export HF_HUB_CACHE HF_HUB_OFFLINE=1
mkdir -p "$HF_HUB_CACHE" || exit 2

if [ -z "$log" ]; then
    [ -d "$model" ] || {
        echo "serve: $model: no such model directory; make quantize makes q5" >&2
        exit 2
    }
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
        echo "serve: port $port is in use; name another with EVAL_PORT=" >&2
        exit 2
    fi
    path=$(cd "$model" && pwd -P)
    cat <<TEXT
Serving $model until Ctrl-C. Ask it from another terminal:

  curl http://127.0.0.1:$port/v1/chat/completions -H 'Content-Type: application/json' -d '{
    "model": "$path",
    "chat_template_kwargs": {"enable_thinking": false},
    "messages": [{"role": "user", "content": "Which files are modified?"}]}'

Any OpenAI client works too: base URL http://127.0.0.1:$port/v1, the model is the path above.

TEXT
    exec "$root/bin/python" -m mlx_lm server --model "$model" --host 127.0.0.1 --port "$port"
fi

exec 3<&0 # a background command gets /dev/null as its input, so keep ours
"$root/bin/python" -m mlx_lm server --model "$model" --host 127.0.0.1 --port "$port" \
    --decode-concurrency 32 </dev/null 3<&- >>"$log" 2>&1 &
server=$!
(
    cat <&3 >/dev/null
    kill "$server" 2>/dev/null
) &
watcher=$!
exec 3<&-
trap 'kill "$server" 2>/dev/null' INT TERM HUP
wait "$server"
status=$?
kill "$watcher" 2>/dev/null
exit "$status"
