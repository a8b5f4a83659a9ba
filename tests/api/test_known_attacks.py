"""Faults that servers like this one had, each with its source; here they find nothing."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import threading
from urllib.parse import quote, urlsplit

import httpx
import onnx
import pytest
from onnx import TensorProto, helper

from benchmarks.scale import resident_mib
from clients import Client
from service.access import keys
from service.graph.check import GraphRefused, check_graph
from service.graph.session import Session
from service.hosting.process import ServerProcess
from tests.graph.attacks import exported, schema
from tests.line import teach, wait_for
from tests.serving import IMMEDIATE, PRESS, label, row

HOOKED = """
import sys
events = open(sys.argv[1], "a", buffering=1)
WATCHED = {
    "socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "subprocess.Popen",
    "os.system", "os.exec", "os.posix_spawn", "pickle.find_class", "urllib.Request",
}

def hook(event, arguments):
    if event in WATCHED and serving:
        events.write(event + " " + repr(arguments)[:200] + "\\n")

serving = []
sys.addaudithook(hook)
sys.argv = ["apical", *sys.argv[2:]]
from service.cli import main
import service.hosting.uvicorn as hosting
real = hosting.create_app

def create_app(*arguments, **more):
    # What is imported to get here is the packages' own affair.
    serving.append(True)
    return real(*arguments, **more)

hosting.create_app = create_app
main()
"""


def written(folder, top=""):
    config = folder / "apical.toml"
    store, log = (repr(str(folder / name)) for name in ("store", "log"))
    config.write_text(PRESS.format(store=store, log=log, top=top, model=IMMEDIATE))
    return str(config)


@pytest.fixture(scope="module")
def hooked(tmp_path_factory):
    """A learner's URL, the file that its audit hook writes, and the folder of all its files."""
    folder = tmp_path_factory.mktemp("hooked")
    events = folder / "events"
    events.touch()
    serve = ["serve", "--config", written(folder), "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-c", HOOKED, str(events), *serve],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ},
    )
    assert process.stdout is not None
    url = process.stdout.readline().split()[-1]
    with Client(url) as client:
        wait_for(client.ready)
    yield url, events, folder, process.pid
    process.terminate()
    process.wait(30)
    process.stdout.close()


def test_nobody_administers_without_a_key(tmp_path):
    """Ray's dashboard and jobs asked for none (CVE-2023-48022, "ShadowRay"; CVE-2026-27482)."""
    with pytest.raises(RuntimeError, match="--insecure"):
        ServerProcess(
            ["serve", "--config", written(tmp_path), "--host", "0.0.0.0"], tmp_path / "stderr"
        )
    path = tmp_path / "keys.json"
    _, secret = keys.add(path, "gateway", "line")
    arguments = ["serve", "--config", written(tmp_path), "--keys", str(path)]
    with ServerProcess(arguments, tmp_path / "stderr") as server:
        server.wait_ready()
        for key, status in ((None, 401), (secret, 403)):
            headers = {} if key is None else {"authorization": f"Bearer {key}"}
            for method in ("POST", "DELETE", "PUT", "PATCH"):
                for verb in ("rollback", "freeze", "prune", "nothing"):
                    at = f"{server.url}/v1/models/press/{verb}"
                    said = httpx.request(method, at, json={"reason": "x"}, headers=headers)
                    assert said.status_code == status
        with Client(server.url, key=secret) as client:
            assert client.model("press").seq == 0


def test_no_request_makes_the_server_connect_run_or_unpickle_anything(hooked):
    """TorchServe fetched models from any URL (CVE-2023-43654, "ShellTorch")."""
    url, events, _, _ = hooked
    called = []
    with socket.create_server(("127.0.0.1", 0)) as trap:

        def answer():
            while True:
                try:
                    caught, _ = trap.accept()
                except OSError:
                    return
                called.append(caught)
                caught.close()

        threading.Thread(target=answer, daemon=True).start()
        bait = f"http://127.0.0.1:{trap.getsockname()[1]}/model.onnx"
        pickled = b"\x80\x04c" + b"os\nsystem\n"
        with Client(url) as client:
            teach(client, 0, 3)
        for verb in ("batches", "labels", "snapshot", "rollback", "promote", "freeze", "thaw",
                     "quarantine", "release", "rebase", "prune", "drift/renew"):  # fmt: skip
            for body in (
                {"reason": bait, "actor": bait, "version": bait, "line": bait, "url": bait},
                {"reason": bait, "actor": bait, "line": bait},
                {"batch_id": bait, "line": bait, "rows": [row(1)], "labels": [label(1)]},
                {"batch_id": bait, "labels": [label(1)]},
            ):
                headers = {"x-forwarded-host": bait, "referer": bait, "x-request-id": bait}
                at = f"{url}/v1/models/press/{verb}"
                said = httpx.post(at, json=body, headers=headers)
                assert said.status_code < 500
        for content in (pickled, json.dumps({"inputs": [{"name": bait}]}).encode()):
            httpx.post(f"{url}/v2/models/press/infer", content=content)
        for model in (bait, f"press?url={bait}"):
            httpx.get(f"{url}/v1/models/{model}")
            httpx.post(f"{url}/v2/repository/models/{model}/load", json={"url": bait})
        httpx.get(f"{url}/metrics")
        trap.shutdown(socket.SHUT_RDWR)
    assert called == []
    assert events.read_text() == ""


def test_a_body_in_small_pieces_takes_no_more_memory_than_it_is_large(hooked):
    """Triton put each chunk on the stack (CVE-2025-23310)."""
    url, _, _, pid = hooked
    before = resident_mib(pid)

    def pieces(size, count):
        for _ in range(count):
            yield b" " * size

    for size, count in ((6, 300_000), (1, 300_000), (6, 300_000)):
        said = httpx.post(
            f"{url}/v1/models/press/batches",
            content=pieces(size, count),
            headers={"content-type": "application/json"},
            timeout=60,
        )
        assert said.status_code == 400
    assert resident_mib(pid) - before < 32


def test_errors_tell_nothing_of_the_inside(hooked):
    """Triton's errors named shared memory regions and files (CVE-2025-23319)."""
    url, _, folder, _ = hooked
    texts = []
    for body in (b"{", b"\xff", b"[]", b'{"rows": 5}', b'{"rows": [{"temp": "x"}]}', b"null"):
        for path in (
            "/v1/models/press/batches", "/v1/models/press/labels", "/v1/models/press/rollback",
            "/v1/models/press/rebase", "/v2/models/press/infer", "/v2/models/none/infer",
            "/v1/models/press/snapshots/99", "/v1/models/press/snapshots/1/diff/99",
        ):  # fmt: skip
            headers = {"content-type": "application/json"}
            texts += [httpx.post(url + path, content=body, headers=headers).text]
            texts += [httpx.get(url + path).text]
    assert len({*texts}) > 20
    for text in texts:
        assert not re.search(r"Traceback|File \"|\.py\b|0x[0-9a-f]{6}|site-packages", text)
        for inside in (str(folder), "/tmp", "/home", "sqlite", "safetensors", "numpy", "torch"):
            assert inside not in text


ESCAPES = [
    "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "..%252f..%252fetc%252fpasswd",
    "%2e%2e/%2e%2e/etc/passwd", "....//....//etc/passwd", "..\\..\\etc\\passwd", "/etc/passwd",
    "%2fetc%2fpasswd", "press/../../log", "press%00", "press%2f..%2fpress", "file:///etc/passwd",
    "..%c0%af..%c0%afetc", "%252e%252e", "C:%5cWindows", "press;/../x", "~root", "press%0d%0aX:y",
]  # fmt: skip


def test_no_path_leads_out_of_what_is_served(hooked):
    """MLflow read any file by ``..`` in a name, once and twice encoded (CVE-2023-1177,
    CVE-2024-1560)."""
    url, _, folder, _ = hooked
    netloc = urlsplit(url).netloc
    before = {str(p) for p in folder.rglob("*")}
    routes = ["/v1/models/{}", "/v1/models/{}/snapshots", "/v1/models/press/snapshots/{}"]
    routes += ["/v2/models/{}", "/v2/models/press/versions/{}", "/swagger/{}", "/{}", "/docs/{}"]
    for escape in ESCAPES:
        for route in routes:
            # Not httpx, which would tidy the path.
            connection = http.client.HTTPConnection(netloc)
            connection.putrequest("GET", route.format(escape), skip_host=False)
            connection.endheaders()
            said = connection.getresponse()
            text = said.read().decode()
            connection.close()
            assert said.status in (307, 400, 404, 422), (route, escape, said.status)
            assert "root:x:" not in text
            assert "x" not in {name.lower() for name in said.headers}
    assert {str(p) for p in folder.rglob("*")} == before


def test_names_from_requests_become_no_paths(hooked):
    url, _, folder, _ = hooked
    with Client(url) as client:
        for name in ("../../escaped", "/tmp/escaped", "a/b", "..", ".", "a\\b", "%2e%2e%2fescaped"):
            client.learn("press", [row(1)], [label(1)], batch_id=name, line=name)
            assert client.label("press", name, [label(1)]).outcomes == ["known"]
            client.snapshot("press", reason=name, actor=name)
            at = f"{url}/v1/models/{quote(name, safe='')}"
            # httpx takes `.` and `..` out of a path, as every client does.
            assert httpx.get(at).status_code == 404 or set(name) == {"."}
    assert not list(folder.parent.rglob("*escaped*"))
    assert {p.name for p in (folder / "store/models").iterdir()} == {"press"}


@pytest.mark.parametrize("how", ["file", "symlink", "hard link", "absolute", "above"])
def test_a_graph_reads_no_file_beside_it(tmp_path, how):
    """ONNX's external data led to any file, by ``..`` (CVE-2024-27318, CVE-2025-51480), by symbolic
    and by hard links (CVE-2026-34447)."""
    secret = tmp_path / "above.bin"
    secret.write_bytes(b"\0" * 64)
    folder = tmp_path / "model"
    folder.mkdir()
    location = {"absolute": str(secret), "above": "../above.bin"}.get(how, "weights.bin")
    match how:
        case "file":
            (folder / "weights.bin").write_bytes(secret.read_bytes())
        case "symlink":
            (folder / "weights.bin").symlink_to(secret)
        case "hard link":
            os.link(secret, folder / "weights.bin")
    model = onnx.load_from_string(exported())
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("length", "64")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    here = os.getcwd()
    os.chdir(folder)
    try:
        with pytest.raises(GraphRefused, match="external"):
            check_graph(model.SerializeToString(), schema())
        with pytest.raises(Exception, match=r".+"):
            Session(model.SerializeToString())
    finally:
        os.chdir(here)


def test_a_graph_with_an_operator_of_somebody_elses_library_is_refused():
    """Custom operators are code: none but ONNX's own are known."""
    model = onnx.load_from_string(exported())
    model.graph.node.append(helper.make_node("Run", ["x"], ["y"], domain="com.evil"))
    with pytest.raises(GraphRefused, match=r"com\.evil"):
        check_graph(model.SerializeToString(), schema())
