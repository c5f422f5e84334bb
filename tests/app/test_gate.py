"""Who gets in to the web app: names of hosts, and pages of other servers."""

import asyncio
import http.client

import pytest

gr = pytest.importorskip("gradio", reason="needs gradio: pip install -e '.[web]'")


@pytest.fixture(scope="module")
def serve(tmp_path_factory):
    """Function: allowed names -> (host, port) of a server with a page that does nothing."""
    patch, pages = pytest.MonkeyPatch(), []
    patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
    from d2_saliency.app.serve import launch
    from d2_saliency.app.uploads import Uploads

    uploads = Uploads(tmp_path_factory.mktemp("uploads"))

    def start(host="127.0.0.1", allowed=()):
        with gr.Blocks() as page:
            pass
        pages.append(page)
        launch(page, uploads, host, None, allowed, prevent_thread_lock=True, quiet=True)
        return "127.0.0.1", page.server_port

    yield start
    for page in pages:
        page.close(verbose=False)
    patch.undo()


@pytest.fixture(scope="module")
def local(serve):
    return serve()


def ask(server, path, method="GET", **headers):
    """The status and the text that a server answers with."""
    connection = http.client.HTTPConnection(*server, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    text = answer.read().decode(errors="replace")
    connection.close()
    return answer.status, text


ROUTES = ["/", "/config", "/gradio_api/queue/data?session_hash=x", "/gradio_api/heartbeat/x"]
QUEUE = "/gradio_api/queue/status"


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example"])
def test_other_names_of_this_machine_are_refused(local, path, host):
    """A name that a stranger's DNS gives this machine would make the app a part of their site."""
    status, text = ask(local, path, Host=host)
    assert status == 403 and "--allow-host" in text


@pytest.mark.parametrize("host", ["127.0.0.1:{}", "localhost:{}", "LOCALHOST:{}", "[::1]:{}"])
def test_names_of_loopback_are_served(local, host):
    assert ask(local, "/", Host=host.format(local[1]))[0] == 200


@pytest.mark.parametrize("method, path", [("GET", "/"), ("GET", QUEUE), ("POST", QUEUE)])
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://127.0.0.1:1", "http://localhost:1", "null", "x", ""]
)
def test_pages_of_other_servers_are_refused(local, method, path, origin):
    status, text = ask(local, path, method, Host=f"127.0.0.1:{local[1]}", Origin=origin)
    assert status == 403 and "another server" in text


def test_the_page_itself_is_served(local):
    here = f"127.0.0.1:{local[1]}"
    assert ask(local, QUEUE, Host=here, Origin=f"http://{here}")[0] == 200


def test_a_proxy_s_name(serve):
    """Behind a proxy the page has the proxy's name, and perhaps its port."""
    server = serve(allowed=["saliency.example"])
    for origin in ("https://saliency.example", "https://saliency.example:8443"):
        assert ask(server, QUEUE, Host="saliency.example", Origin=origin)[0] == 200
        assert ask(server, QUEUE, Host=f"127.0.0.1:{server[1]}", Origin=origin)[0] == 200
    assert ask(server, QUEUE, Host="evil.example")[0] == 403
    assert ask(server, QUEUE, Host="saliency.example", Origin="https://evil.example")[0] == 403


def test_other_addresses_are_open_unless_names_are_given(serve):
    """Others come in by names that nobody can list."""
    assert ask(serve("0.0.0.0"), QUEUE, Host="my-machine", Origin="http://other")[0] == 200
    server = serve("0.0.0.0", ["my-machine"])
    assert ask(server, QUEUE, Host="my-machine")[0] == 200
    assert ask(server, QUEUE, Host="evil.example")[0] == 403


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.5", "localhost", "::1", "[::1]"])
def test_what_is_loopback(host):
    from d2_saliency.app.gate import allowed_names

    names = allowed_names(host, [])
    assert {"localhost", "127.0.0.1", "::1", host.strip("[]")} == names
    for other in ("0.0.0.0", "::", "10.0.0.1", "my-machine"):
        assert allowed_names(other, []) is None


@pytest.mark.parametrize("headers", [[(b"host", b"evil")], [], [(b"host", b"a")] * 2], ids=str)
def test_websockets(headers):
    from d2_saliency.app.gate import Gate

    sent = []

    async def send(message):
        sent.append(message)

    gate = Gate(None, names={"a"})
    asyncio.run(gate({"type": "websocket", "path": "/x", "headers": headers}, None, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]
