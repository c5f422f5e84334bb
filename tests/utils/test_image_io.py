import os
import re
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from d2_saliency.utils.image_files import check_any_readable, list_images, output_names
from d2_saliency.utils.image_io import ImageError, read_image

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def save(tmp_path, values, name="x.png", **options):
    """Write an array (or Image) with Pillow and return the path."""
    image = values if isinstance(values, Image.Image) else Image.fromarray(np.asarray(values))
    image.save(tmp_path / name, **options)
    return tmp_path / name


class TestReadImage:
    @pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "gif", "ppm", "jpg"])
    def test_colours_are_in_the_order_that_was_asked(self, tmp_path, suffix):
        options = {"lossless": True} if suffix == "webp" else {}
        path = save(tmp_path, np.full((4, 6, 3), RED, np.uint8), f"x.{suffix}", **options)
        bgr, rgb = read_image(path), read_image(path, "RGB")
        assert bgr.shape == (4, 6, 3) and bgr.dtype == np.uint8 and bgr.flags["C_CONTIGUOUS"]
        assert np.abs(rgb.astype(int) - RED).max() <= 1  # JPEG rounds
        assert (bgr[:, :, ::-1] == rgb).all()

    @pytest.mark.parametrize("name", ["x.jpg", "x.tif", "x.png", "x.webp"])
    def test_exif_orientation_6_is_turned_clockwise(self, tmp_path, name):
        stored = np.zeros((16, 32, 3), np.uint8)
        stored[:, :16] = 255  # white left half: on top after a quarter turn clockwise
        exif = Image.Exif()
        exif[274] = 6
        upright = read_image(save(tmp_path, stored, name, exif=exif))
        assert upright.shape == (32, 16, 3)
        assert upright[:14].min() > 200 and upright[18:].max() < 50

    def test_damaged_exif_does_not_cost_the_picture(self, tmp_path):
        path = save(
            tmp_path,
            np.full((4, 6, 3), RED, np.uint8),
            exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage",
        )
        assert read_image(path).shape == (4, 6, 3)

    @pytest.mark.parametrize("name", ["x.png", "x.tif"])
    def test_16_bit_grey_is_scaled_not_clipped(self, tmp_path, name):
        path = save(tmp_path, np.array([[0, 257, 128 * 257, 65535]], np.uint16), name)
        assert read_image(path)[0, :, 0].tolist() == [0, 1, 128, 255]

    def test_dark_16_bit_grey_stays_dark(self, tmp_path):
        assert read_image(save(tmp_path, np.array([[0, 255]], np.uint16))).max() == 1

    @pytest.mark.parametrize(
        "values, expected",
        [
            (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255]),  # a share
            (np.array([[0.0, 51.0, 102.0]], np.float32), [0, 51, 102]),  # 8 bits as floats
            (np.array([[0.0, 257.0, 65535.0]], np.float32), [0, 1, 255]),  # 16 bits as floats
            (np.array([[-100.0, 0.0, 100.0]], np.float32), [0, 128, 255]),  # minimum to maximum
            (np.array([[np.nan, np.inf, 1.0]], np.float32), [0, 0, 255]),
            (np.array([[-3.0, -3.0, -3.0]], np.float32), [0, 0, 0]),
            (np.array([[0, 1, 255]], np.int32), [0, 1, 255]),
            (np.array([[0, 2**30, 2**31 - 1]], np.int32), [0, 128, 255]),
        ],
    )
    def test_floats_and_32_bits(self, tmp_path, values, expected):
        assert read_image(save(tmp_path, values, "x.tif"))[0, :, 0].tolist() == expected

    def test_1_bit(self, tmp_path):
        assert read_image(save(tmp_path, np.array([[True, False]])))[0].tolist() == [
            [255] * 3,
            [0] * 3,
        ]

    def test_transparent_pixels_are_white(self, tmp_path):
        rgba = np.array([[[*RED, 255], [*RED, 0], [0, 0, 0, 51]]], np.uint8)
        assert read_image(save(tmp_path, rgba), "RGB")[0].tolist() == [
            list(RED),
            list(WHITE),
            [204] * 3,
        ]
        grey = Image.fromarray(np.array([[[10, 255], [10, 0]]], np.uint8), "LA")
        assert read_image(save(tmp_path, grey, "la.png"))[0].tolist() == [[10] * 3, [255] * 3]

    def test_palette_and_its_transparent_entry(self, tmp_path):
        image = Image.new("P", (3, 1))
        image.putpalette([*RED, *GREEN, *BLUE])
        image.putdata([0, 1, 2])
        assert read_image(save(tmp_path, image, "p.png"), "RGB")[0].tolist() == [
            list(RED),
            list(GREEN),
            list(BLUE),
        ]
        path = save(tmp_path, image, "t.png", transparency=1)
        assert read_image(path, "RGB")[0].tolist() == [list(RED), list(WHITE), list(BLUE)]

    def test_cmyk(self, tmp_path):
        path = save(tmp_path, Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "x.jpg", quality=95)
        assert np.abs(read_image(path, "RGB").astype(int) - RED).max() < 5

    def test_first_frame_of_an_animation(self, tmp_path):
        frames = [Image.new("RGB", (4, 4), color) for color in (GREEN, RED)]
        path = save(tmp_path, frames[0], "x.gif", save_all=True, append_images=frames[1:])
        assert (read_image(path, "RGB") == GREEN).all()

    def test_unknown_format(self, tmp_path):
        with pytest.raises(ValueError, match="'BGR' or 'RGB', got 'HSV'"):
            read_image(save(tmp_path, np.zeros((2, 2), np.uint8)), "HSV")


class TestReadImageErrors:
    def check(self, path, reason):
        with pytest.raises(ImageError) as error:
            read_image(path)
        message = str(error.value)
        assert reason in message and "x.jpg" in message and "\n" not in message

    def test_missing(self, tmp_path):
        self.check(tmp_path / "x.jpg", "does not exist")

    def test_line_break_in_the_name(self, tmp_path):
        self.check(tmp_path / "a\nx.jpg", "does not exist")

    def test_folder(self, tmp_path):
        (tmp_path / "x.jpg").mkdir()
        self.check(tmp_path / "x.jpg", "is a folder")

    def test_pipe(self, tmp_path):
        os.mkfifo(tmp_path / "x.jpg")
        self.check(tmp_path / "x.jpg", "not a regular file")

    def test_empty(self, tmp_path):
        (tmp_path / "x.jpg").touch()
        self.check(tmp_path / "x.jpg", "is empty")

    def test_text(self, tmp_path):
        (tmp_path / "x.jpg").write_text("hello")
        self.check(tmp_path / "x.jpg", "not an image that can be read")

    @pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "tiff", "gif"])
    def test_truncated(self, tmp_path, kind):
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        path = save(tmp_path, noise, "x.jpg", format=kind)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(ImageError, match="x.jpg.*: (copy or )?save it"):
            read_image(path)

    def test_decompression_bomb(self, tmp_path, monkeypatch):
        path = save(tmp_path, np.zeros((20, 20), np.uint8), "x.jpg")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        self.check(path, "too many pixels")


class TestListImages:
    @pytest.fixture()
    def folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "d" / "sub").mkdir(parents=True)
        for name in ("b.JPG", "a.png", "c.txt", "._a.png", "sub/e.jpg"):
            (tmp_path / "d" / name).touch()
        return tmp_path

    def names(self, *inputs):
        return [path.as_posix() for path in list_images(inputs)]

    def test_folder_is_not_recursive(self, folder):
        assert self.names("d") == ["d/a.png", "d/b.JPG"]

    def test_patterns(self, folder):
        assert self.names("d/*") == ["d/a.png", "d/b.JPG"]
        assert self.names("d/**/*.jpg") == ["d/sub/e.jpg"]

    def test_double_stars_do_not_follow_links_to_folders(self, folder):
        """Two folders that lead to each other would have 2^40 paths."""
        (folder / "d" / "sub" / "up").symlink_to("..")
        (folder / "d" / "sub" / "here").symlink_to(".")
        (folder / "elsewhere").mkdir()
        (folder / "elsewhere" / "x.jpg").touch()
        (folder / "d" / "away").symlink_to(folder / "elsewhere")
        assert self.names("d/**/*.jpg") == ["d/sub/e.jpg"]
        assert self.names("**/*.jpg") == ["d/sub/e.jpg", "elsewhere/x.jpg"]
        assert self.names("d/**/**/*.[jJ]*") == ["d/b.JPG", "d/sub/e.jpg"]
        assert self.names("d/**") == ["d/a.png", "d/b.JPG", "d/sub/e.jpg"]
        assert self.names(f"{folder}/**/s*/**/*.jpg") == [f"{folder}/d/sub/e.jpg"]

    def test_links_to_folders_that_are_named_are_entered(self, folder):
        (folder / "link").symlink_to("d")
        assert self.names("link") == ["link/a.png", "link/b.JPG"]
        (folder / "in").symlink_to("d/sub")
        assert self.names("in/../**/*.JPG") == ["in/../b.JPG"]  # of d, where in/ leads
        assert self.names("link/**/*.jpg") == self.names("l*/**/*.jpg") == ["link/sub/e.jpg"]

    def test_double_stars_pass_hidden_folders_and_odd_names(self, folder):
        for name in (".hidden", "[d]", "a*b"):
            (folder / name).mkdir()
            (folder / name / "x.jpg").touch()
        assert self.names("**/x.jpg") == ["[d]/x.jpg", "a*b/x.jpg"]
        assert self.names(".hidden/**/x.jpg") == [".hidden/x.jpg"]

    def test_no_file_twice_whatever_links_lead_to_it(self, folder):
        (folder / "d" / "z.jpg").symlink_to("b.JPG")
        (folder / "link").symlink_to("d")
        assert self.names("d", "link", "link/b.JPG") == ["d/a.png", "d/b.JPG"]
        assert self.names("d/z.jpg") == ["d/z.jpg"]

    def test_named_file_counts_whatever_its_suffix(self, folder):
        assert self.names("d/c.txt") == ["d/c.txt"]

    def test_missing_file_is_kept_for_its_error_to_be_recorded(self, folder):
        assert self.names("nope.jpg", "d") == ["nope.jpg", "d/a.png", "d/b.JPG"]

    def test_folder_that_may_not_be_read(self, folder, monkeypatch):
        def refuse(path):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "iterdir", refuse)
        with pytest.raises(ImageError, match=r"Folder 'd' cannot be read \(Permission denied\)"):
            list_images(["d"])

    def test_file_that_looks_like_a_pattern(self, folder):
        (folder / "x[1].jpg").touch()
        assert self.names("x[1].jpg") == ["x[1].jpg"]

    def test_each_file_once_in_the_order_of_the_inputs(self, folder):
        assert self.names("d/b.JPG", "d", str(folder / "d" / "a.png"), "./d/../d/b.JPG") == [
            "d/b.JPG",
            "d/a.png",
        ]

    @pytest.mark.parametrize(
        "inputs, reason",
        [
            ([], "No input image"),
            (["nope.jpg"], "'nope.jpg' does not exist: check the path"),
            (["nope.jpg", "no.png"], "None of the 2 input files exists, 'nope.jpg' for one"),
            (["d", "*.webp"], r"No image matches '\*.webp'"),
            (["*.webp"], r"No image matches '\*.webp'"),
            (["d/c*"], "No image matches"),
            (["empty"], "Folder 'empty' has no images"),
        ],
    )
    def test_errors(self, folder, inputs, reason):
        (folder / "empty").mkdir()
        with pytest.raises(ImageError, match=reason):
            list_images(inputs)


def test_check_any_readable(tmp_path):
    good, bad = save(tmp_path, np.zeros((2, 2), np.uint8)), tmp_path / "bad.jpg"
    bad.write_text("hello")
    check_any_readable([bad, good])
    with pytest.raises(ImageError, match="^'.*bad.jpg' is not an image"):
        check_any_readable([bad])
    with pytest.raises(
        ImageError,
        match="^None of the 2 images can be read. The first: '.*bad.jpg' is not an image",
    ):
        check_any_readable([bad, tmp_path / "nope.jpg"])


class TestOutputNames:
    def test_collisions(self):
        paths = ["a/x.jpg", "b/x.png", "c/X.jpg", "y.jpg", "a/x.jpg"]
        names = output_names(paths)
        assert names[3] == "y" and names[4] == f"{names[0]}_2"
        assert all(re.fullmatch("x_[0-9a-f]{12}", name.lower()) for name in names[:3])
        assert len({name.lower() for name in names}) == 5

    def test_odd_characters(self):
        paths = ["my photo (1).jpg", "é.jpg", "a:b*c?.png", "-rf.jpg", "index.html.png"]
        assert output_names(paths) == ["my_photo_1", "e", "a_b_c", "rf", "index_html"]
        names = output_names(["фото.jpg", "猫.jpg", "..", "\udcff.jpg"])
        assert len(set(names)) == 4
        assert all(re.fullmatch("image_[0-9a-f]{12}", name) for name in names)

    def test_folders_of_the_output_are_not_taken(self):
        names = output_names(["maps.jpg", "Records.png"])
        assert [name.rpartition("_")[0] for name in names] == ["maps", "Records"]

    def test_a_new_file_renames_no_others(self):
        """In whatever order, however the path is written."""
        paths = ["b/x.jpg", "c/x.jpg", "猫.jpg", "y.jpg"]
        before = dict(zip(paths, output_names(paths)))
        more = ["a/x.jpg", "犬.jpg", *reversed(paths), "./z.jpg"]
        after = dict(zip(more, output_names(more)))
        assert before.items() <= after.items()
        assert output_names(["./b/x.jpg", "b/../c/x.jpg"]) == [before["b/x.jpg"], before["c/x.jpg"]]

    def test_a_stem_that_looks_like_a_digest(self):
        (name, _) = output_names(["a/x.jpg", "b/x.jpg"])
        names = output_names(["a/x.jpg", "b/x.jpg", f"{name}.jpg", f"c/{name}.jpg"])
        assert len(set(names)) == 4

    @pytest.mark.parametrize("path", ["{}/x.jpg", "{}/猫.jpg", "a/x.jpg"])
    def test_many_alike(self, path):
        """Quadratic, 20,000 took 38 seconds."""
        start = time.process_time()
        assert len(set(output_names([path.format(i) for i in range(20_000)]))) == 20_000
        assert time.process_time() - start < 5

    def test_long_names_are_cut_and_stay_different(self):
        first, second = output_names(["x" * 300 + "a.jpg", "x" * 300 + "b.jpg"])
        assert first != second and max(len(first), len(second)) < 100


@pytest.mark.parametrize("orientation, quarters", [(6, -1), (8, 1)])
def test_uncompressed_tiff_that_exif_turns(tmp_path, orientation, quarters):
    pixels, exif = np.arange(2 * 5 * 3, dtype=np.uint8).reshape(2, 5, 3), Image.Exif()
    exif[274] = orientation
    Image.fromarray(pixels).save(tmp_path / "x.tif", exif=exif)
    assert np.array_equal(read_image(tmp_path / "x.tif", "RGB"), np.rot90(pixels, quarters))
