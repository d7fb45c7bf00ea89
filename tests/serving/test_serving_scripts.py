"""scripts/tf_serving.sh and what lies in scripts/serving, as far as it can be tried without a container."""

import inspect
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, text_format, wrappers_pb2
from google.protobuf.internal import builder

from keras_mrcnn.serving.tf_serving_client import TFServingClient

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
Field = descriptor_pb2.FieldDescriptorProto
# The fields of BatchingParameters (servables/tensorflow/session_bundle_config.proto) and of MonitoringConfig and
# PrometheusConfig (config/monitoring_config.proto): the pip package does not have these two files.
BATCHING_FIELDS = {
    "max_batch_size": (1, "Int64Value"),
    "batch_timeout_micros": (2, "Int64Value"),
    "max_enqueued_batches": (3, "Int64Value"),
    "num_batch_threads": (4, "Int64Value"),
    "thread_pool_name": (5, "StringValue"),
    "allowed_batch_sizes": (6, "int64"),
    "pad_variable_length_inputs": (7, "bool"),
    "enable_large_batch_splitting": (8, "BoolValue"),
    "max_execution_batch_size": (9, "Int64Value"),
}


def add_message(file, name, fields):
    message = file.message_type.add(name=name)
    for field_name, (number, kind) in fields.items():
        field = message.field.add(name=field_name, number=number, label=Field.LABEL_OPTIONAL)
        if kind == "int64":
            field.type, field.label = Field.TYPE_INT64, Field.LABEL_REPEATED
        elif kind in ("bool", "string"):
            field.type = Field.TYPE_BOOL if kind == "bool" else Field.TYPE_STRING
        else:
            field.type, field.type_name = Field.TYPE_MESSAGE, kind if "." in kind else f".google.protobuf.{kind}"


@pytest.fixture(scope="module")
def messages():
    """Classes of the two configs' messages, made of their documented fields."""
    package = "documented.tensorflow.serving"
    file = descriptor_pb2.FileDescriptorProto(name="documented.proto", package=package, syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    add_message(file, "BatchingParameters", BATCHING_FIELDS)
    add_message(file, "PrometheusConfig", {"enable": (1, "bool"), "path": (2, "string")})
    add_message(file, "MonitoringConfig", {"prometheus_config": (1, f".{package}.PrometheusConfig")})
    classes, described = {}, descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
    builder.BuildMessageAndEnumDescriptors(described, classes)
    builder.BuildTopDescriptorsAndMessages(described, "documented", classes)
    return classes


def test_batching_config(messages):
    text = (SCRIPTS / "serving" / "batching.config").read_text("utf-8")
    config = text_format.Parse(text, messages["BatchingParameters"]())
    images_per_request = inspect.signature(TFServingClient.batch).parameters["images_per_request"].default
    assert config.max_batch_size.value == images_per_request
    assert config.batch_timeout_micros.value == 0
    assert config.num_batch_threads.value >= 1
    assert config.max_enqueued_batches.value >= config.num_batch_threads.value
    assert not config.pad_variable_length_inputs
    with pytest.raises(text_format.ParseError, match="max_batch"):
        text_format.Parse("max_batch { value: 8 }", messages["BatchingParameters"]())


def test_monitoring_config(messages):
    text = (SCRIPTS / "serving" / "monitoring.config").read_text("utf-8")
    config = text_format.Parse(text, messages["MonitoringConfig"]()).prometheus_config
    assert (config.enable, config.path) == (True, "/monitoring/prometheus/metrics")


ENGINE = f"""#!{sys.executable}
import sys
print("\\n".join(sys.argv[1:]))
"""


@pytest.fixture
def place(tmp_path):
    """A folder with models, and one with the commands that the script finds."""
    for name in ("scenes/2", "scenes/notes", "empty"):
        (tmp_path / "models" / name).mkdir(parents=True)
    (tmp_path / "models" / "scenes" / "2" / "saved_model.pb").write_bytes(b"graph")
    commands = tmp_path / "commands"
    commands.mkdir()
    for name in ("bash", "dirname", "basename", "ls", "sed"):
        (commands / name).symlink_to(shutil.which(name))
    return tmp_path


def free_ports():
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        return one.getsockname()[1], other.getsockname()[1]


def start(place, *arguments, engine="docker", script=ENGINE):
    if engine:
        (place / "commands" / engine).write_text(script)
        (place / "commands" / engine).chmod(0o755)
    rest, grpc = free_ports()
    ports = [] if "--rest-port" in arguments else ["--rest-port", str(rest), "--grpc-port", str(grpc)]
    return subprocess.run(
        ["bash", str(SCRIPTS / "tf_serving.sh"), "--models", "models", *ports, *arguments],
        cwd=place,
        env={**os.environ, "PATH": str(place / "commands")},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_starts_the_official_image(place):
    rest, grpc = free_ports()
    ports = ["--rest-port", str(rest), "--grpc-port", str(grpc)]
    done = start(place, "scenes", *ports, "--", "--num_load_threads=2")
    assert done.returncode == 0, done.stderr
    message, *arguments = done.stdout.splitlines()
    assert f"http://127.0.0.1:{rest}/v1/models/scenes" in message
    image = arguments.index("tensorflow/serving:latest")
    assert arguments[:3] == ["run", "--rm", "--init"]
    assert {f"127.0.0.1:{rest}:8501", f"127.0.0.1:{grpc}:8500", "MODEL_NAME=scenes"} < set(arguments[:image])
    folders = [argument for argument in arguments[:image] if argument.startswith("type=bind")]
    sources = [folder.split(",")[1].partition("=")[2] for folder in folders]
    assert sources == [str(place / "models" / "scenes"), str(SCRIPTS / "serving")]
    assert all(folder.endswith(",readonly") for folder in folders)
    assert arguments[-1] == "--num_load_threads=2"
    for argument in arguments[image:]:
        if "=/serving/" in argument:
            assert (SCRIPTS / "serving" / Path(argument).name).is_file()


def test_compose_file_starts_the_same_server(place):
    server = start(place, "scenes").stdout.split("tensorflow/serving:latest\n")[1].split()
    service = yaml.safe_load((SCRIPTS / "serving" / "compose.yaml").read_text("utf-8"))["services"]["tf-serving"]
    assert service["command"] == server
    assert service["image"] == "${IMAGE:-tensorflow/serving:latest}"
    mounts = {mount["target"]: mount["source"] for mount in service["volumes"]}
    assert mounts == {"/models/${NAME}": "../../saved_models/${NAME}", "/serving": "."}
    assert [port.rpartition(":")[2] for port in service["ports"]] == ["8501", "8500"]


def test_options_change_the_command(place):
    done = start(place, "scenes", "--no-batching", "--image", "mirror/serving:2.19-gpu", "--host", "0.0.0.0")
    arguments = done.stdout.splitlines()[1:]
    assert "mirror/serving:2.19-gpu" in arguments and arguments[arguments.index("--gpus") + 1] == "all"
    assert not [argument for argument in arguments if "batching" in argument]
    assert [argument for argument in arguments if argument.startswith("0.0.0.0:")]


def test_takes_podman_where_docker_is_missing(place):
    assert "label=disable" in start(place, "scenes", engine="podman").stdout.split()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "say which model"),
        (("missing",), "models/missing does not exist; 'keras-mrcnn export WEIGHTS --name missing' writes it"),
        (("missing",), "models: empty scenes."),
        (("empty",), "models/empty holds no version, such as 1/saved_model.pb"),
        (("../models/scenes",), "is not the plain name of a folder"),
        (("scenes", "--models", "nowhere"), "nowhere does not exist"),
        (("scenes", "other"), "one NAME at a time"),
        (("scenes", "--fast"), "there is no option --fast"),
        (("scenes", "--image"), "--image needs a value"),
        (("scenes", "--rest-port", "http"), "--rest-port 'http' is not a port number"),
        (("scenes", "--rest-port", "1", "--grpc-port", "1"), "REST and gRPC cannot share port 1"),
        (("scenes", "--engine", "nerdctl"), "none of these is installed: nerdctl"),
    ],
)
def test_says_what_is_wrong(place, arguments, message):
    done = start(place, *arguments)
    assert done.returncode == 1
    assert message in done.stderr and len(done.stderr.splitlines()) == 1


def test_says_that_docker_is_missing_or_does_not_work(place):
    assert "none of these is installed: docker podman" in start(place, "scenes", engine=None).stderr
    broken = start(place, "scenes", script=f"#!{sys.executable}\nraise SystemExit(1)\n")
    assert broken.returncode == 1 and "'docker info' fails" in broken.stderr


def test_says_that_a_port_is_taken(place):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = start(place, "scenes", "--rest-port", port)
    assert done.returncode == 1
    assert f"port {port} is taken; stop what uses it, or choose another with --rest-port" in done.stderr


def test_help_is_the_head_of_the_script(place):
    done = start(place, "--help")
    assert done.returncode == 0 and "--no-batching" in done.stdout and "set -euo" not in done.stdout
