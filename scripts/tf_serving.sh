#!/usr/bin/env bash
# Serves saved_models/NAME, which `keras-mrcnn export` wrote, with the official image tensorflow/serving:
# REST on port 8501, gRPC on port 8500. Ctrl-C ends it. New versions in the folder are picked up by themselves.
#
#   bash scripts/tf_serving.sh NAME [options] [-- flags of tensorflow_model_server]
#
#   --models FOLDER     where NAME is; saved_models by default
#   --rest-port PORT    8501 by default
#   --grpc-port PORT    8500 by default
#   --host ADDRESS      127.0.0.1 by default; 0.0.0.0 lets other machines in (the server asks nobody for a password)
#   --image IMAGE       tensorflow/serving:latest by default; 2.19 or later, and not older than the TensorFlow that
#                       exported. An image whose name ends in -gpu gets all GPUs.
#   --engine COMMAND    docker or podman; by default the one that is installed, docker first
#   --no-batching       without scripts/serving/batching.config; see there
set -euo pipefail

die() { echo "scripts/tf_serving.sh: $*" >&2; exit 1; }

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
name='' models="$root/saved_models" host=127.0.0.1 rest_port=8501 grpc_port=8500
image=tensorflow/serving:latest engine='' batching=yes flags=()

while [ $# -gt 0 ]; do
    case $1 in
        -h | --help) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p;}' "${BASH_SOURCE[0]}"; exit ;;
        --no-batching) batching=no; shift ;;
        --) shift; flags=("$@"); break ;;
        --models | --rest-port | --grpc-port | --host | --image | --engine)
            [ $# -ge 2 ] || die "$1 needs a value; see --help."
            case $1 in
                --models) models=$2 ;;
                --rest-port) rest_port=$2 ;;
                --grpc-port) grpc_port=$2 ;;
                --host) host=$2 ;;
                --image) image=$2 ;;
                --engine) engine=$2 ;;
            esac
            shift 2 ;;
        -*) die "there is no option $1; see --help." ;;
        *) [ -z "$name" ] || die "one NAME at a time, not both '$name' and '$1'."; name=$1; shift ;;
    esac
done

find_engine() {
    local candidate candidates=(docker podman)
    [ -z "$engine" ] || candidates=("$engine")
    for candidate in "${candidates[@]}"; do
        if command -v "$candidate" >/dev/null; then
            "$candidate" info >/dev/null 2>&1 ||
                die "'$candidate info' fails; start the service of $candidate, or run this as a user who may use it."
            engine=$candidate
            return
        fi
    done
    die "none of these is installed: ${candidates[*]}; install Docker (docs.docker.com/engine/install) or Podman."
}

check_model() {
    [ -n "$name" ] || die "say which model: a folder of $models; see --help."
    case $name in
        */* | *:* | *,* | .*) die "NAME '$name' is not the plain name of a folder; --models says where it is." ;;
    esac
    local export="'keras-mrcnn export WEIGHTS --name $name' writes it"
    [ -d "$models" ] || die "$models does not exist; $export, or --models names another folder."
    models=$(cd "$models" && pwd)
    [ -d "$models/$name" ] || die "$models/$name does not exist; $export. In $models: $(echo $(ls "$models"))."
    local saved
    for saved in "$models/$name"/*/saved_model.pb; do
        saved=$(basename "$(dirname "$saved")")
        case $saved in *[!0-9]*) ;; *) return ;; esac
    done
    die "$models/$name holds no version, such as 1/saved_model.pb; $export."
}

check_port() {
    case $2 in '' | *[!0-9]*) die "$1 '$2' is not a port number." ;; esac
    # Bash opens a connection itself; that it succeeds says that somebody listens.
    if (exec 3<>"/dev/tcp/127.0.0.1/$2") 2>/dev/null; then
        die "port $2 is taken; stop what uses it, or choose another with $1."
    fi
}

check_model
check_port --rest-port "$rest_port"
check_port --grpc-port "$grpc_port"
[ "$rest_port" != "$grpc_port" ] || die "REST and gRPC cannot share port $rest_port."
find_engine

run=("$engine" run --rm --init
    --publish "$host:$rest_port:8501" --publish "$host:$grpc_port:8500"
    --mount "type=bind,source=$models/$name,target=/models/$name,readonly"
    --mount "type=bind,source=$root/scripts/serving,target=/serving,readonly"
    --env "MODEL_NAME=$name")
# Where SELinux is on, a container may not read these folders otherwise.
[ "$engine" != podman ] || run+=(--security-opt label=disable)
case $image in *-gpu) run+=(--gpus all) ;; esac
# Masks as bytes; as a list of numbers, which is sent otherwise, they take up to twice as many.
server=(--rest_api_timeout_in_ms=60000 --enable_serialization_as_tensor_content=true
    --monitoring_config_file=/serving/monitoring.config)
[ $batching = no ] || server+=(--enable_batching=true --batching_parameters_file=/serving/batching.config)

echo "REST http://$host:$rest_port/v1/models/$name, gRPC $host:$grpc_port," \
    "metrics http://$host:$rest_port/monitoring/prometheus/metrics"
exec "${run[@]}" "$image" "${server[@]}" ${flags[@]+"${flags[@]}"}
