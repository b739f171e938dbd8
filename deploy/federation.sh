#!/usr/bin/env bash
# The parts of a federation of three sites, one a container: what deploy/compose.yaml runs. They are the commands of docs/flower.md.
#
#   federation.sh setup         data, certificates, nodes, keys and the app, for all three sites at once: only in an example
#   federation.sh server        the SuperLink
#   federation.sh node NAME     a site's SuperNode
#   federation.sh start         register the keys, have the run start, wait for its report
#
# WORK is the folder with a sub-folder for the server and one for each site; SERVER the name under which sites reach the server; SCENARIO
# the folder of examples/three-hospitals. On one machine without containers give PORT, and NODE_PORT, another for each site.
set -euo pipefail
: "${WORK:?the folder for all that is made}" "${SERVER:=localhost}" "${PORT:=8000}" "${NODE_PORT:=9094}"
SITES=(north south west)
NAME=federation
export FLWR_TELEMETRY_ENABLED=0 FLWR_DISABLE_UPDATE_CHECK=1
cd "$WORK"

setup() {
  if [ -e server/ready ]; then echo "all is made already"; return; fi
  : "${SCENARIO:?the folder of examples/three-hospitals}"
  local made site place
  made=$(mktemp -d)
  python -c 'import sys, pathlib; sys.path.insert(0, sys.argv[1]); import make_data; make_data.main(pathlib.Path(sys.argv[2]))' \
    "$SCENARIO" "$made"
  mkdir -p server/keys
  cp "$SCENARIO/scenario.yaml" server/scenario.yaml
  fedtap flower certificates server/tls --host "$SERVER"
  for site in "${SITES[@]}"; do
    mkdir -p "$site/node"
    cp -r "$made/$site" "$site/data"
    cp server/tls/ca.crt "$site/ca.crt"
    local places=()
    case $site in
      north) places=(digit=scans mood=letters.csv) ;;
      south) places=(digit=scans redraw=scans) ;;
      west) places=(mood=notes.csv even=questions.jsonl) ;;
    esac
    local data=()
    for place in "${places[@]}"; do data+=(--data "${place%%=*}=$WORK/$site/data/${place#*=}"); done
    fedtap node init "$site/node" --client "$site" --scenario server/scenario.yaml "${data[@]}"
    cp "$site/node/node.key.pub" "server/keys/$site.pub"
  done
  fedtap flower init server/app --scenario server/scenario.yaml --keys "$WORK/server/keys" --out "$WORK/server/run"
  rm -r "$made"
  touch server/ready
}

server() {
  export FLWR_HOME=$WORK/server/flwr
  exec flower-superlink --host 0.0.0.0 --port "$PORT" --database "$WORK/server/superlink.db" \
    --ssl-ca-certfile server/tls/ca.crt --ssl-certfile server/tls/server.crt --ssl-keyfile server/tls/server.key \
    --enable-supernode-auth --disable-runtime-dependency-installation
}

node() {
  local site=${1:?which site}
  export FLWR_HOME=$WORK/$site/flwr
  exec flower-supernode --superlink "$SERVER:$PORT" --host 127.0.0.1 --port "$NODE_PORT" --root-certificates "$site/ca.crt" \
    --auth-supernode-private-key "$site/node/node.key" --node-config "client-id=\"$site\" node=\"$WORK/$site/node\""
}

start() {
  export FLWR_HOME=$WORK/server/flwr-cli
  mkdir -p "$FLWR_HOME"
  cat > "$FLWR_HOME/config.toml" <<TOML
[superlink]
default = "$NAME"

[superlink.$NAME]
address = "$SERVER:$PORT"
root-certificates = "$WORK/server/tls/ca.crt"
TOML
  for _ in $(seq 60); do
    if (exec 3<> "/dev/tcp/$SERVER/$PORT") 2> /dev/null; then break; fi
    sleep 1
  done
  for site in "${SITES[@]}"; do flwr supernode register "server/keys/$site.pub" "$NAME"; done
  flwr run server/app "$NAME"
  until [ -e server/run/report.html ]; do sleep 2; done
  echo "The report is $WORK/server/run/report.html"
}

case ${1:-} in
  setup | server | start) "$1" ;;
  node) node "${2:-}" ;;
  *) sed -n '2,12s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
