"""Files from servers: into the cache and nowhere else, within limits, or not at all."""

import os
import threading
import time
from urllib.request import Request

import pytest

from d2_saliency import add_saliency_config
from d2_saliency.utils import downloads
from d2_saliency.utils.downloads import (
    DownloadError,
    LimitError,
    Limits,
    fetched,
    is_address,
    resolve_dots,
)
from tests.file_server import dribble, files, redirect_to, send

SMALL = Limits(max_bytes=1000, max_seconds=30)


def read(address, limits=SMALL):
    with fetched(address, limits) as path:
        return path.read_bytes()


class TestCache:
    def test_a_file_is_fetched_once(self, file_server, download_cache):
        file_server.answers["/a/x.pth"] = b"content"
        assert (
            read(f"{file_server.url}/a/x.pth") == read(f"{file_server.url}/a/x.pth") == b"content"
        )
        assert file_server.requests == ["/a/x.pth"] and len(files(download_cache)) == 1
        file_server.shutdown()
        assert read(f"{file_server.url}/a/x.pth") == b"content"

    def test_the_name_keeps_its_suffix(self, file_server, download_cache):
        """It says how a checkpoint is read; iopath makes .pkl?dl=1 of it."""
        file_server.default = b"content"
        for name, suffix in (
            ("x.pkl?dl=1", ".pkl"),
            (f"{'x' * 300}.pth#top", ".pth"),
            ("o/a%2Fx%20y.pth?q=/..", ".pth"),
        ):
            with fetched(f"{file_server.url}/{name}", SMALL) as path:
                assert path.suffix == suffix and download_cache in path.resolve().parents

    def test_servers_do_not_share_files(self, file_server, download_cache):
        """
        With iopath, which leaves out the server's name, a file of one would be taken for that of
        another.
        """
        file_server.default = b"evil"
        name = "detectron2/COCO-Detection/retinanet_R_50_FPN_1x/190397773/model_final_bfca0b.pkl"
        for address in (f"{file_server.url}/{name}", f"{file_server.url}/{name}?1"):
            read(address)
        assert not (download_cache / name).exists() and len(files(download_cache)) == 2

    @pytest.mark.parametrize(
        "address, name",
        [
            ("https://dl.fbaipublicfiles.com/detectron2/a/x.pkl", "detectron2/a/x.pkl"),
            ("detectron2://a/x.pkl", "detectron2/a/x.pkl"),
            (
                "catalog://ImageNetPretrained/MSRA/R-50",
                "detectron/ImageNetPretrained/MSRA/R-50.pkl",
            ),
        ],
    )
    def test_files_of_detectron2_are_where_it_keeps_them(self, download_cache, address, name):
        (download_cache / name).parent.mkdir(parents=True)
        (download_cache / name).write_bytes(b"content")
        assert read(address) == b"content"

    def test_what_is_there_is_read_without_writing(self, file_server, download_cache):
        """The cache may be read-only; iopath would take one in /tmp instead."""
        file_server.default = b"content"
        read(f"{file_server.url}/x.pth")
        (download_cache / "d2_saliency" / "download.lock").unlink()
        before = sorted(download_cache.rglob("*"))
        assert (
            read(f"{file_server.url}/x.pth") == b"content"
            and sorted(download_cache.rglob("*")) == before
        )

    def test_readable_for_whom_the_umask_says(self, file_server, download_cache):
        file_server.default = b"content"
        before = os.umask(0o022)
        try:
            with fetched(f"{file_server.url}/x.pth", SMALL) as path:
                assert path.stat().st_mode & 0o777 == 0o644
        finally:
            os.umask(before)

    def test_what_is_no_good_is_fetched_again(self, file_server, download_cache):
        file_server.answers["/x.pth"] = b"damaged"
        with pytest.raises(ZeroDivisionError), fetched(f"{file_server.url}/x.pth", SMALL):
            raise ZeroDivisionError
        assert files(download_cache) == set()
        file_server.answers["/x.pth"] = b"content"
        assert read(f"{file_server.url}/x.pth") == b"content"

    def test_at_once(self, file_server, download_cache):
        """
        Processes of one run ask for the same file: one of them fetches it, and none sees half of
        it.
        """
        file_server.default = lambda handler: (time.sleep(0.2), send(handler, b"x" * 1000, 1000))
        found = []
        threads = [
            threading.Thread(target=lambda: found.append(read(f"{file_server.url}/x.pth")))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [b"x" * 1000] * 4 and file_server.requests == ["/x.pth"]

    def test_an_interrupted_download_leaves_nothing(self, file_server, download_cache, monkeypatch):
        def interrupt(seconds, work):
            work()
            raise KeyboardInterrupt

        file_server.default = b"content"
        monkeypatch.setattr(downloads, "_within", interrupt)
        with pytest.raises(KeyboardInterrupt):
            read(f"{file_server.url}/x.pth")
        assert files(download_cache) == set()

    def test_what_a_killed_run_left_is_written_over(self, file_server, download_cache):
        (download_cache / "d2_saliency").mkdir(parents=True)
        (download_cache / "d2_saliency" / "download.tmp").write_bytes(b"half of something long")
        file_server.default = b"content"
        assert read(f"{file_server.url}/x.pth") == b"content"
        assert len(files(download_cache)) == 1 and "download.tmp" not in str(files(download_cache))


class TestAddresses:
    REFUSED = [
        *(
            "/..",
            "/../x.pth",
            "/../../x.pth",
            "/a/../../x.pth",
            "/a/../x.pth",
            "/a/..",
            "/./x.pth",
            "/.../x.pth",
        ),
        *(
            "/.. /x.pth",
            "/%2e%2e/x.pth",
            "/.%2E/x.pth",
            "/%252e%252e/x.pth",
            "/%25252525252e./x.pth",
            "/..%2fx.pth",
        ),
        *("/a%2f..%2f..%2fx.pth", "/..;/../x.pth", "/%2e%2e", "/..?x.pth", "/%2e%2e#x.pth"),
        *(
            "//x.pth",
            "//etc/x.pth",
            "/%2fetc%2fx.pth",
            "/%252fetc/x.pth",
            "/a//x.pth",
            "/%2e%2e%2f%2e%2e%2fx.pth",
        ),
        *(
            "/..\\x.pth",
            "\\..\\x.pth",
            "/..%5cx.pth",
            "/..%255c..%255cx.pth",
            "/C:%5cx.pth",
            "/a?b\\..\\x.pth",
        ),
        *("", "/", "/a/", "?x.pth", "#x.pth", "/?x.pth", "/%20/x.pth", "/%20"),
        *(
            "/x%00.pth",
            "/x%0a.pth",
            "/x%250d.pth",
            "/x\n.pth",
            "/.\t./x.pth",
            "/x\x1b[2J.pth",
            "/x\x00.pth",
            "/x%1b.pth",
        ),
        *(
            "/\u2024\u2024/x.pth",
            "/x\u202e.pth",
            "/x%e2%80%ae.pth",
            "/x\u2028y.pth",
            "/%c2%85x.pth",
        ),
        *("/x.pth?\x1b[2J", "/x.pth#\n", "/x.pth?\u202e"),
        f"/{'a' * 5000}.pth",
        f"/%{'25' * 5000}2e.pth",
    ]

    @pytest.mark.parametrize("path", REFUSED, ids=lambda path: ascii(path[:30]))
    def test_paths(self, file_server, download_cache, tmp_path, path):
        file_server.default = b"content"
        self.check(file_server.url + path, tmp_path, "^addresses are |^its path has ")
        assert file_server.requests == []

    @pytest.mark.parametrize(
        "address",
        [
            *(
                "http:///x.pth",
                "http://../x.pth",
                "http://%2e%2e/x.pth",
                "http://a/../../x.pth",
                "http://a..b/x.pth",
            ),
            *(
                "http://..\\..\\x/y.pth",
                "http://a%2f..%2f/x.pth",
                "http://a b/x.pth",
                "http://a\n/x.pth",
                "http://.x/y",
            ),
            *(
                "http://user@a/x.pth",
                "http://a:b@c/x.pth",
                "http://a:b/x.pth",
                "http://[::1/x.pth",
                "http://:80/x.pth",
            ),
            *(
                "https://dl.fbaipublicfiles.com/detectron2/../../x.pkl",
                "ftp://127.0.0.1/x.pth",
                "ftp://a/../../x.pth",
            ),
            *(
                "detectron2://../x.pkl",
                "detectron2://a/%2e%2e/x.pkl",
                "detectron2:///etc/x.pkl",
                "detectron2://",
            ),
            *(
                "catalog://../x",
                "catalog://ImageNetPretrained/../../x",
                "catalog://Caffe2Detectron/COCO/../x/rpn",
            ),
        ],
        ids=ascii,
    )
    def test_others(self, download_cache, tmp_path, address, monkeypatch):
        monkeypatch.setattr(downloads, "_download", lambda *args: pytest.fail("asks a server"))
        self.check(address, tmp_path)

    def check(self, address, folder, reason="."):
        assert is_address(address)
        start = time.perf_counter()
        with pytest.raises(DownloadError, match=reason) as error:
            read(address)
        assert time.perf_counter() - start < 1
        assert str(error.value).isprintable() and str(error.value) and files(folder) == set()

    @pytest.mark.parametrize(
        "name",
        ["x.pth", "a/b/x.pth", "..x/x.pth", "a..b/.x", "a%2Fb%20c%3A.pth", "x.pth?next=../.."],
    )
    def test_accepted(self, file_server, download_cache, name):
        file_server.default = b"content"
        assert read(f"{file_server.url}/{name}") == b"content"

    def test_one_drive(self, download_cache, monkeypatch):
        found = []
        monkeypatch.setattr(
            downloads,
            "_download",
            lambda url, partial, target, limits: (found.append(url), target.touch()),
        )
        read("https://1drv.ms/u/s!Abc")
        assert found[0].startswith("https://api.onedrive.com/v1.0/shares/u!") and found[0].endswith(
            "/root/content"
        )

    def test_local_paths_are_none(self):
        assert not any(
            map(
                is_address,
                ["x.pth", "/x.pth", "http:/x.pth", "a/http://b/x.pth", "HTTP://x", "~/x", ""],
            )
        )

    @pytest.mark.parametrize(
        "address, resolved",
        [
            ("http://h/a/b/../../x.yaml", "http://h/x.yaml"),
            ("http://h/a/../x.yaml?y=/a/../b", "http://h/x.yaml?y=/a/../b"),
            ("http://h/a/../../x.yaml", "http://h/../x.yaml"),
            ("http://h/a/%2e%2e/x.yaml", "http://h/a/%2e%2e/x.yaml"),
        ],
    )
    def test_resolve_dots(self, address, resolved):
        assert resolve_dots(address) == resolved


class TestLimits:
    def fails(self, address, download_cache, reason, kind=DownloadError, limits=SMALL):
        start = time.perf_counter()
        with pytest.raises(kind, match=reason):
            read(address, limits)
        assert time.perf_counter() - start < 5 and files(download_cache) == set()

    def test_the_defaults_are_those_of_the_config(self):
        from detectron2.config import get_cfg

        cfg = get_cfg()
        add_saliency_config(cfg)
        assert Limits.of(cfg.MODEL.SALIENCY_HEAD.DOWNLOAD) == Limits() == Limits(4 * 10**9, 3600)

    def test_size_that_is_told(self, file_server, download_cache):
        file_server.default = lambda handler: (
            send(handler, b"", 1001),
            handler.server.closing.wait(),
        )
        self.fails(f"{file_server.url}/x.pth", download_cache, "more than 0.001 MB", LimitError)

    @pytest.mark.parametrize("length", [None, -1, "many"])
    def test_size_that_is_not_told(self, file_server, download_cache, length):
        file_server.default = lambda handler: send(handler, b"x" * 1001, length)
        self.fails(f"{file_server.url}/x.pth", download_cache, "more than 0.001 MB", LimitError)

    def test_content_without_end(self, file_server, download_cache):
        def answer(handler):
            send(handler, b"")
            while not handler.server.closing.is_set():
                handler.wfile.write(b"x" * 2**16)

        file_server.default = answer
        self.fails(
            f"{file_server.url}/x.pth",
            download_cache,
            "more than 5 MB",
            LimitError,
            Limits(5 * 10**6, 30),
        )

    def test_chunks(self, file_server, download_cache):
        def answer(handler):
            handler.wfile.write(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"
            )
            while not handler.server.closing.is_set():
                handler.wfile.write(b"64\r\n" + b"x" * 100 + b"\r\n")

        file_server.default = answer
        self.fails(f"{file_server.url}/x.pth", download_cache, "more than 0.001 MB", LimitError)

    def test_a_length_that_lies(self, file_server, download_cache):
        file_server.default = lambda handler: send(handler, b"x" * 10, 20)
        self.fails(f"{file_server.url}/x.pth", download_cache, "10 of 20 bytes")
        file_server.default = lambda handler: send(handler, b"x" * 10**6, 20)  # no more is read
        assert len(read(f"{file_server.url}/y.pth")) == 20

    def test_the_largest_file(self, file_server, download_cache):
        file_server.default = b"x" * 1000
        assert len(read(f"{file_server.url}/x.pth")) == 1000

    @pytest.mark.parametrize(
        "start",
        [
            b"HTTP/1.0 200 OK\r\n\r\n",
            b"HTTP/1.0 200 OK\r\nContent-Length: 900\r\n\r\n",
            b"HTTP/1.0 200 OK\r\nX: ",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;",
            b"",
        ],
    )
    def test_time(self, file_server, download_cache, start):
        file_server.default = dribble(start)
        self.fails(
            f"{file_server.url}/x.pth",
            download_cache,
            "more than 0.3 seconds",
            LimitError,
            Limits(1000, 0.3),
        )
        time.sleep(0.1)
        assert files(download_cache) == set()

    def test_what_is_late_is_not_read_on(self, file_server, download_cache):
        file_server.default = dribble(b"HTTP/1.0 200 OK\r\n\r\n")
        before = set(threading.enumerate())
        with pytest.raises(LimitError):
            read(f"{file_server.url}/x.pth", Limits(10**9, 0.1))
        time.sleep(0.3)
        left = set(threading.enumerate()) - before
        assert not [thread for thread in left if "process_request" not in thread.name]

    def test_silence(self, file_server, download_cache, monkeypatch):
        monkeypatch.setattr(downloads, "SILENCE", 0.2)
        file_server.default = lambda handler: handler.server.closing.wait()
        self.fails(f"{file_server.url}/x.pth", download_cache, "timed out")

    def test_nothing(self, file_server, download_cache):
        file_server.answers["/x.pth"] = b""
        self.fails(f"{file_server.url}/x.pth", download_cache, "empty")
        self.fails(f"{file_server.url}/y.pth", download_cache, "404")

    def test_answers_that_would_write_to_the_terminal(self, file_server, download_cache):
        for answer in (
            b"HTTP/1.0 404 \x1b[2J\r\n\r\n",
            b"HTTP/1.0 302 x\r\nLocation: file:///\x1b[2J\r\n\r\n",
        ):
            file_server.default = lambda handler, answer=answer: handler.wfile.write(answer)
            with pytest.raises(DownloadError) as error:
                read(f"{file_server.url}/x.pth")
            assert str(error.value).isprintable() and len(str(error.value)) < 500

    def test_no_server(self, download_cache, unused_port):
        self.fails(f"http://127.0.0.1:{unused_port}/x.pth", download_cache, "Connection refused")
        self.fails("http://127.0.0.1:99999/x.pth", download_cache, ".")

    def test_a_cache_that_cannot_be_made(self, file_server, download_cache):
        download_cache.parent.mkdir(parents=True)
        download_cache.touch()
        with pytest.raises(DownloadError, match="FVCORE_CACHE"):
            read(f"{file_server.url}/x.pth")

    @pytest.fixture
    def unused_port(self):
        import socket

        with socket.create_server(("127.0.0.1", 0)) as free:
            return free.getsockname()[1]


class TestRedirects:
    def test_the_first_address_names_the_file(self, file_server, download_cache):
        file_server.answers = {
            "/x.pth": redirect_to("/a/../../y.pkl"),
            "/y.pkl": b"content",
            "/a/../../y.pkl": b"content",
        }
        with fetched(f"{file_server.url}/x.pth", SMALL) as path:
            assert path.read_bytes() == b"content" and path.name.endswith("x.pth")
        assert len(files(download_cache)) == 1

    @pytest.mark.parametrize(
        "place", ["file:///etc/passwd", "ftp://127.0.0.1/x.pth", "data:,x", "gopher://127.0.0.1/x"]
    )
    def test_to_web_servers_only(self, file_server, download_cache, place):
        file_server.default = redirect_to(place)
        with pytest.raises(DownloadError, match="(?i)redirect"):
            read(f"{file_server.url}/x.pth")
        assert files(download_cache) == set()

    def test_without_end(self, file_server, download_cache):
        file_server.default = lambda handler: redirect_to(f"/{len(file_server.requests)}")(handler)
        with pytest.raises(DownloadError):
            read(f"{file_server.url}/x.pth")
        assert len(file_server.requests) <= 11 and files(download_cache) == set()

    def test_limits_hold_behind_them(self, file_server, download_cache):
        file_server.answers = {"/x.pth": redirect_to("/y.pth"), "/y.pth": b"x" * 1001}
        with pytest.raises(LimitError):
            read(f"{file_server.url}/x.pth")
        assert files(download_cache) == set()

    def test_encryption_is_not_given_up(self):
        redirects = downloads._Redirects()
        encrypted = Request("https://127.0.0.1/x.pth")
        with pytest.raises(DownloadError, match="not encrypted"):
            redirects.redirect_request(encrypted, None, 302, "Found", {}, "http://127.0.0.1/x.pth")
        assert (
            redirects.redirect_request(encrypted, None, 302, "Found", {}, "https://127.0.0.1/y.pth")
            is not None
        )
